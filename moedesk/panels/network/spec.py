"""The Network panel: every pass, and what it was routed to."""

from moedesk.core.selection import Kind
from moedesk.session.panel import PanelSpec

SPEC = PanelSpec(
    id="network",
    title="Network",
    view="moedesk.panels.network.view:NetworkPanel",
    place="top",
    order=10,
    icon="network",
    shortcut="Ctrl+1",
    reveals=frozenset({Kind.PASS, Kind.LAYER, Kind.EXPERT, Kind.TOKEN}),
    tags=("routing", "heatmap", "passes", "tokens", "filter", "load"),
    hint="Which experts did every token go to, pass by pass?",
)
