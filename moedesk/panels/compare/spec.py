"""The Compare panel: how another capture routes the same tokens."""

from moedesk.core.selection import Kind
from moedesk.session.panel import PanelSpec

SPEC = PanelSpec(
    id="compare",
    title="Compare",
    view="moedesk.panels.compare.view:ComparePanel",
    place="top",
    order=60,
    icon="compare",
    shortcut="Ctrl+7",
    reveals=frozenset({Kind.LAYER, Kind.EXPERT, Kind.TOKEN}),
    tags=(
        "diff",
        "difference",
        "flips",
        "noise",
        "logic",
        "bf16",
        "checkpoint",
        "saturation",
        "margin",
        "parity",
        "router",
    ),
    hint="Does another run route the same tokens to the same experts, and if not, is it rounding or logic?",
)
