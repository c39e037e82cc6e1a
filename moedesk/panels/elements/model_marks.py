"""Words beside nodes that come and go while a model is live: what a breakpoint names, what an override acts on."""

from collections.abc import Mapping, Sequence

from moedesk.core.acted import first_few
from moedesk.panels.elements.model_tree import NO_NODE, Badge, Outline
from moedesk.session.breakpoints import BreakpointList, named_by
from moedesk.session.overridden import Overridden
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


def override_marks(outline: Outline, overridden: Overridden) -> Marks:
    """Return a badge for each layer and expert that overrides are about; its hint says what they do.

    It says *overridden* where one acted on the passes in view, *override on* where one is on now and did not.
    """
    acted, waiting = (_said(outline, entries) for entries in (overridden.acted, overridden.waiting))
    found: dict[int, tuple[Badge, ...]] = {}
    for node in acted.keys() | waiting.keys():
        hints = ["; ".join(first_few(acted[node]))] if node in acted else []
        if node in waiting:
            hints.append(f"on now, not on the passes in view: {'; '.join(first_few(waiting[node]))}")
        word, short = ("overridden", "*") if node in acted else ("override on", "°")
        found[node] = (Badge(word, "overridden", "\n".join(hints), short),)
    return found


def _said(outline: Outline, entries: Sequence[Entry]) -> dict[int, list[str]]:
    """Return what overrides do, by the nodes of the layers and experts that they are about."""
    titles: dict[int, list[str]] = {}
    for entry in entries:
        layers = [info.place for info in outline.model.layers if entry.override.acts_on(info.place)]
        nodes = {outline.layer_node(layer) for layer in layers}
        nodes |= {outline.expert_node(layer, expert) for layer in layers for expert in entry.override.experts}
        for node in nodes - {NO_NODE}:
            titles.setdefault(node, []).append(entry.said)
    return titles
