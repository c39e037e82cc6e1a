"""The card of the paths of an expert's tokens."""

from collections.abc import Callable

from PySide6.QtWidgets import QComboBox

from moedesk.panels.experts.model_copy import Copied, copied_paths
from moedesk.panels.experts.model_paths import REACHES, PathsView, flow_picture, paths_caption
from moedesk.ui.cards import Card
from moedesk.ui.sankey import Sankey
from moedesk.ui.theme import Theme


class PathsCard:
    """A Sankey diagram with a choice of how many layers."""

    def __init__(self) -> None:
        self.view: PathsView | None = None
        self.sankey = Sankey("Paths through the layers")
        self.card = Card("Paths through the layers", self.sankey, span=2)
        self.box = QComboBox()
        self.box.addItems([f"± {reach} {'layer' if reach == 1 else 'layers'}" for reach in REACHES])
        self.box.setCurrentIndex(1)
        self.box.setAccessibleName("How many layers")
        self.card.add_control(self.box)

    @property
    def reach(self) -> int:
        """Layers on either side."""
        return REACHES[self.box.currentIndex()]

    def set_view(self, view: PathsView) -> None:
        """Show another expert, or more passes."""
        self.view = view
        self.sankey.set_picture(flow_picture(view))
        self.card.set_caption(paths_caption(view))

    def copied(self) -> dict[Card, Callable[[], Copied]]:
        """Return what can be copied, by card."""
        view = self.view
        return {} if view is None else {self.card: lambda: copied_paths(view, self.reach)}

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.sankey.set_theme(theme)
