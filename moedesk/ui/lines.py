"""A widget of lines, one below the other, as high as there are lines: the base of those that draw a list themselves."""

from PySide6.QtCore import QPointF, QSize
from PySide6.QtWidgets import QSizePolicy, QWidget

from moedesk.ui.theme import LIGHT, Theme


class Lines(QWidget):
    """Draws lines of equal height; says where each is, and what room all take.

    Parameters
    ----------
    name : str
        What it is called for who can't see it.
    width, least : int
        Pixels that it would like, and needs.
    room : int
        Pixels of a line besides its text.
    """

    def __init__(self, name: str, width: int, least: int, room: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = LIGHT
        self._width, self._least, self._room = width, least, room
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(name)
        self.setToolTip(" ")  # what it says comes with the tool-tip event

    @property
    def count(self) -> int:
        """Number of lines."""
        raise NotImplementedError

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.theme = theme
        self.update()

    @property
    def line_height(self) -> int:
        """Pixels of a line."""
        return self.fontMetrics().height() + self._room

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a line for each, and one where there is none."""
        return QSize(self._width, max(1, self.count) * self.line_height)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return the same height."""
        return QSize(self._least, self.sizeHint().height())

    def line_at(self, place: QPointF) -> int:
        """Return the line at a point, or -1."""
        line = int(place.y() // self.line_height)
        return line if 0 <= line < self.count else -1
