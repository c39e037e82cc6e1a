"""The Overrides panel: what is changed about the routing of a running model, and what that does."""

from moedesk.session.panel import PanelSpec

SPEC = PanelSpec(
    id="overrides",
    title="Overrides",
    view="moedesk.panels.overrides.view:OverridesPanel",
    place="top",
    order=50,
    icon="overrides",
    shortcut="Ctrl+8",
    tags=(
        "ablate",
        "exclude",
        "force",
        "bias",
        "scale",
        "swap",
        "set k",
        "top-k",
        "temperature",
        "capacity",
        "replay",
        "before and after",
        "what if",
    ),
    hint="What if an expert were missing, forced or weighed otherwise?",
)
