"""The Audits panel: what is wrong with the routing, how sure that is, and what to do."""

from moedesk.core.selection import Kind
from moedesk.session.panel import PanelSpec

SPEC = PanelSpec(
    id="audits",
    title="Audits",
    view="moedesk.panels.audits.view:AuditsPanel",
    place="top",
    order=30,
    icon="audits",
    shortcut="Ctrl+5",
    reveals=frozenset({Kind.LAYER, Kind.EXPERT}),
    tags=("checks", "findings", "score", "lighthouse", "dead", "hot", "collapse", "problems", "advice"),
    hint="What is wrong with the routing, how sure is that, and what to do?",
)
