"""The Breakpoints panel: where a live model stops."""

from moedesk.session.panel import PanelSpec

SPEC = PanelSpec(
    id="breakpoints",
    title="Breakpoints",
    view="moedesk.panels.breakpoints.view:BreakpointsPanel",
    place="drawer",
    order=95,
    icon="breakpoint",
    shortcut="Ctrl+9",
    tags=("stop", "pause", "debugger", "break on", "logpoint", "step"),
    hint="Where does the model stop, and what does its router do there?",
)
