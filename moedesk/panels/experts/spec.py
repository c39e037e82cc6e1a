"""The Experts panel: what one expert does."""

from moedesk.core.selection import Kind
from moedesk.session.panel import PanelSpec

SPEC = PanelSpec(
    id="experts",
    title="Experts",
    view="moedesk.panels.experts.view:ExpertsPanel",
    place="top",
    order=40,
    icon="expert",
    shortcut="Ctrl+6",
    reveals=frozenset({Kind.EXPERT, Kind.LAYER}),
    tags=(
        "expert",
        "share",
        "top tokens",
        "contexts",
        "friends",
        "co-activation",
        "similar",
        "paths",
        "vocabulary",
        "repetition",
    ),
    hint="What is this expert for, when is it used, and with whom?",
)
