"""Words beside nodes that come and go while a model is live: what a breakpoint names."""

from collections.abc import Mapping

from moedesk.panels.elements.model_tree import NO_NODE, Badge, Outline
from moedesk.session.breakpoints import BreakpointList, named_by

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
