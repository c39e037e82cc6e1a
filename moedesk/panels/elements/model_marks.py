"""Words beside nodes that come and go while a model is live: what a breakpoint names, what an override acts on."""

from collections.abc import Mapping, Sequence

from moedesk.core.acted import first_few
from moedesk.panels.elements.model_tree import NO_NODE, Badge, Outline
from moedesk.session.breakpoints import BreakpointList, named_by
from moedesk.session.overriding import Entry

Marks = Mapping[int, tuple[Badge, ...]]
"""Badges by node."""


def breakpoint_marks(outline: Outline, breakpoints: BreakpointList) -> Marks:
    """Return a badge for each layer and expert that a breakpoint names; its hint has their texts."""
    named = named_by(breakpoints, outline.model)
    found = {outline.layer_node(layer): texts for layer, texts in named.layers.items()}
    found |= {outline.expert_node(*expert): texts for expert, texts in named.experts.items()}
    state = "stops here" if breakpoints.active else "deactivated"
    return {
        node: (
            Badge(
                "● breakpoint" if breakpoints.active else "○ breakpoint", "breakpoint", f"{state}: {', '.join(texts)}"
            ),
        )
        for node, texts in found.items()
        if node != NO_NODE
    }


def override_marks(outline: Outline, acting: Sequence[Entry]) -> Marks:
    """Return a badge for each layer on which an override acts, and each expert that it is about; its hint says what it does."""
    titles: dict[int, list[str]] = {}
    for entry in acting:
        layers = [info.place for info in outline.model.layers if entry.override.acts_on(info.place)]
        nodes = {outline.layer_node(layer) for layer in layers}
        nodes |= {outline.expert_node(layer, expert) for layer in layers for expert in entry.override.experts}
        for node in nodes - {NO_NODE}:
            titles.setdefault(node, []).append(entry.said)
    return {
        node: (Badge("overridden", "overridden", "; ".join(first_few(said)), "*"),) for node, said in titles.items()
    }
