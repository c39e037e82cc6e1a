"""Cards in a scroll area, in as many columns as there is room for."""

from PySide6.QtCore import QEvent, QPoint, QRect, Qt, Signal
from PySide6.QtGui import QContextMenuEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from moedesk.ui.theme import Theme

GAP = 8
COLUMN = 400
"""A column is at least this wide, where the area is."""


class Card(QFrame):
    """A question and its answer: title, controls, body, and a line about what the numbers mean and what was left out.

    ``menu_asked`` gives a global position when a context menu is wanted.
    """

    menu_asked = Signal(QPoint)

    def __init__(self, title: str, body: QWidget, span: int = 1) -> None:
        super().__init__()
        self.setObjectName("card")
        self.span = span
        self.body = body
        self.title = QLabel(title)
        font = self.title.font()
        font.setBold(True)
        self.title.setFont(font)
        self.caption = _small_text()
        self.head = QHBoxLayout()
        self.head.setSpacing(6)
        self.head.addWidget(self.title, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 6, 10, 8)
        column.setSpacing(4)
        column.addLayout(self.head)
        column.addWidget(body, 1)
        column.addWidget(self.caption)

    def add_control(self, control: QWidget) -> None:
        """Put a control into the title's line."""
        self.head.addWidget(control)

    def set_caption(self, text: str) -> None:
        """Say what the numbers mean, and what was left out."""
        if text != self.caption.text():
            self.caption.setText(text)
        self.caption.setVisible(bool(text))

    def height_at(self, width: int) -> int:
        """Return how high it wants to be at a width."""
        layout = self.layout()
        assert layout is not None
        return layout.totalHeightForWidth(width) if layout.hasHeightForWidth() else layout.totalSizeHint().height()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:  # noqa: N802
        """Ask for the menu."""
        self.menu_asked.emit(event.globalPos())


class CardColumns(QScrollArea):
    """Lays cards out in columns, each where there is room highest up; the same cards and width, the same places."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cards: list[Card] = []
        self._content = _Content(self)
        self.setWidget(self._content)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        # Always there: its coming and going would change the width, and with it the heights that it comes and goes with.
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)

    def add(self, card: Card) -> None:
        """Append a card."""
        card.setParent(self._content)
        card.show()
        self.cards.append(card)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.setStyleSheet(
            f"QWidget#cards {{ background: {theme.background}; }}"
            f"QFrame#card {{ background: {theme.surface}; border: 1px solid {theme.border}; border-radius: 6px; }}"
            f"QLabel[muted=true] {{ color: {theme.muted}; }}"
        )

    def arrange(self) -> None:
        """Give every card its place."""
        width = self.viewport().width() - GAP
        columns = max(1, min(width // (COLUMN + GAP), max((card.span for card in self.cards), default=1) + 2))
        one = (width - GAP * columns) // columns
        heights = [GAP] * columns
        for card in self.cards:
            if card.isHidden():
                continue
            span = min(card.span, columns)
            start = min(range(columns - span + 1), key=lambda at: max(heights[at : at + span]))
            top = max(heights[start : start + span])
            wide = one * span + GAP * (span - 1)
            high = card.height_at(wide)
            card.setGeometry(QRect(GAP + start * (one + GAP), top, wide, high))
            heights[start : start + span] = [top + high + GAP] * span
        self._content.resize(self.viewport().width(), max(heights))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Lay out anew."""
        super().resizeEvent(event)
        self.arrange()


class _Content(QWidget):
    """Holds the cards; lays them out anew when one changes its height."""

    def __init__(self, columns: CardColumns) -> None:
        super().__init__()
        self.setObjectName("cards")
        self._columns = columns

    def event(self, event: QEvent) -> bool:
        """Watch for cards that want another height."""
        if event.type() == QEvent.Type.LayoutRequest:
            self._columns.arrange()
        return super().event(event)


def _small_text() -> QLabel:
    label = QLabel()
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setProperty("muted", True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    font = label.font()
    if font.pointSizeF() > 0:
        font.setPointSizeF(font.pointSizeF() * 0.9)
    label.setFont(font)
    label.hide()
    return label
