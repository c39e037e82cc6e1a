"""The way from the model to the chosen node, each step a button."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QToolButton, QWidget

from moedesk.panels.elements.model_tree import Outline
from moedesk.panels.elements.view_button import flat_button


class Breadcrumbs(QWidget):
    """Buttons from the root to a node; what doesn't fit is left out after the first, with a sign.

    ``picked`` says which node was clicked.
    """

    picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("breadcrumbs")
        self._steps: list[tuple[QLabel | None, QToolButton]] = []
        self._left_out = QLabel("› …", self)
        self._left_out.hide()
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(4, 1, 4, 1)
        self._row.setSpacing(0)
        self._row.addStretch()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setMinimumHeight(26)

    @property
    def buttons(self) -> list[QToolButton]:
        """The steps, from the root."""
        return [button for _, button in self._steps]

    def show_node(self, outline: Outline, node: int) -> None:
        """Show the way to a node, or nothing with -1."""
        while self._row.count():
            item = self._row.takeAt(0)
            widget = item.widget() if item is not None else None
            if widget is not None and widget is not self._left_out:
                widget.deleteLater()
        self._steps.clear()
        for place, step in enumerate(outline.ancestors(node)):
            separator = QLabel("›") if place else None
            if separator is not None:
                self._row.addWidget(separator)
            button = flat_button(outline.path(step) or "the model itself", outline.name(step))
            button.setCursor(Qt.CursorShape.PointingHandCursor)
            button.clicked.connect(lambda _=False, step=step: self.picked.emit(step))
            self._row.addWidget(button)
            self._steps.append((separator, button))
            if place == 0:
                self._row.addWidget(self._left_out)
        self._row.addStretch()
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Leave out as many steps as must be."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        widths = [
            button.sizeHint().width() + (separator.sizeHint().width() if separator else 0)
            for separator, button in self._steps
        ]
        room = self.width() - 8
        left_out, used = 0, sum(widths)
        while used > room and left_out < len(widths) - 2:
            left_out += 1
            used = sum(widths) - sum(widths[1 : left_out + 1]) + self._left_out.sizeHint().width()
        for place, (separator, button) in enumerate(self._steps):
            shown = not 1 <= place <= left_out
            button.setVisible(shown)
            if separator is not None:
                separator.setVisible(shown)
        self._left_out.setVisible(left_out > 0)
