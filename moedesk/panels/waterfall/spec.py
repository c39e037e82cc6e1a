"""The Waterfall panel: routing and its balance as they happen."""

from moedesk.core.selection import Kind
from moedesk.session.panel import PanelSpec

SPEC = PanelSpec(
    id="waterfall",
    title="Waterfall",
    view="moedesk.panels.waterfall.view:WaterfallPanel",
    place="top",
    order=15,
    icon="waterfall",
    shortcut="Ctrl+3",
    reveals=frozenset({Kind.EXPERT, Kind.LAYER, Kind.PASS}),
    tags=("live", "routing", "balance", "load", "weight", "entropy", "margin", "cv", "maxvio", "curves", "experts"),
    hint="What do the experts get right now, and how evenly?",
)
