"""The Elements panel: the model's tree, and what its experts do."""

from moedesk.core.selection import Kind
from moedesk.session.panel import PanelSpec

SPEC = PanelSpec(
    id="elements",
    title="Elements",
    view="moedesk.panels.elements.view:ElementsPanel",
    place="top",
    order=20,
    icon="elements",
    shortcut="Ctrl+2",
    reveals=frozenset({Kind.MODULE, Kind.LAYER, Kind.EXPERT}),
    tags=("modules", "tree", "architecture", "parameters", "router", "load", "top tokens"),
    hint="What is the model made of, how loaded is each expert, and what is it for?",
)
