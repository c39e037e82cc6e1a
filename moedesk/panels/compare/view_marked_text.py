"""Flowing text of aligned tokens, those that flip on the colour of their first layer; only the lines in view are drawn."""

from PySide6.QtCore import QPoint, QRectF, QSizeF, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFontMetricsF,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
)
from PySide6.QtWidgets import QAbstractScrollArea, QToolTip, QWidget

from moedesk.panels.compare.model_text import Page, lay_out
from moedesk.ui.theme import FIRST_LEVEL, LIGHT, Theme
from moedesk.ui.token_layout import Fragment, TokenLayout

MARGIN = 6


class MarkedText(QAbstractScrollArea):
    """The tokens of a page; ``picked`` names the place of the one that was clicked or reached with the arrow keys."""

    picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Aligned text")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self._theme: Theme = LIGHT
        self._page: Page | None = None
        self._layout = TokenLayout(8)
        self._selected: int | None = None

    @property
    def page(self) -> Page | None:
        """What is shown."""
        return self._page

    @property
    def selected(self) -> int | None:
        """Place of the marked token on the page."""
        return self._selected

    def set_page(self, page: Page | None) -> None:
        """Show another page."""
        self._page, self._selected = page, None
        self._lay_out()
        self.verticalScrollBar().setValue(0)

    def set_selected(self, place: int | None) -> None:
        """Mark a token, and scroll to it."""
        self._selected = place
        line = self._layout.line_of.get(place) if place is not None else None
        if line is not None:
            bar, height = self.verticalScrollBar(), self._cell().height()
            if not bar.value() <= line * height <= bar.value() + self.viewport().height() - 2 * height:
                bar.setValue(int(line * height - self.viewport().height() / 3))
        self.viewport().update()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self.setFont(theme.mono_font)
        self._lay_out()

    def color_of(self, layer: int) -> QColor:
        """Return the colour of a layer, as a place in the stream."""
        layers = len(self._page.stream.layers) if self._page is not None else 1
        share = layer / max(layers - 1, 1)
        return QColor(*map(int, self._theme.load_lut[FIRST_LEVEL + round(share * (255 - FIRST_LEVEL))]))

    def rect_of(self, place: int) -> QRectF | None:
        """Return where (in the viewport) the first part of a token lies; None if it isn't shown."""
        line = self._layout.line_of.get(place)
        if line is None:
            return None
        return next(self._rect(part) for part in self._layout.on_lines(line, line + 1) if part.place == place)

    def place_at(self, position: QPoint) -> int | None:
        """Return the place of the token at a point of the viewport."""
        cell = self._cell()
        line = int((position.y() - MARGIN + self.verticalScrollBar().value()) / cell.height())
        place = self._layout.at(line, (position.x() - MARGIN) / cell.width())
        return place if place is not None and place >= 0 else None

    def _cell(self) -> QSizeF:
        metrics = QFontMetricsF(self.font())
        return QSizeF(metrics.horizontalAdvance("M"), metrics.height() + 5)

    def _rect(self, part: Fragment) -> QRectF:
        cell = self._cell()
        top = MARGIN + part.line * cell.height() - self.verticalScrollBar().value()
        return QRectF(MARGIN + part.column * cell.width(), top, max(part.width, 1) * cell.width(), cell.height() - 2)

    def _lay_out(self) -> None:
        cell = self._cell()
        columns = max(int((self.viewport().width() - 2 * MARGIN) / cell.width()), 8)
        self._layout = lay_out(self._page, columns) if self._page is not None else TokenLayout(columns)
        bar = self.verticalScrollBar()
        bar.setRange(0, max(int(self._layout.lines * cell.height() + 2 * MARGIN - self.viewport().height()), 0))
        bar.setPageStep(self.viewport().height())
        bar.setSingleStep(int(cell.height()))
        self.viewport().update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the lines in view."""
        painter = QPainter(self.viewport())
        painter.fillRect(event.rect(), self._theme.color("surface"))
        if self._page is None:
            return
        painter.setFont(self.font())
        height = self._cell().height()
        first = int(max(self.verticalScrollBar().value() - MARGIN, 0) / height)
        for part in self._layout.on_lines(first, first + int(self.viewport().height() / height) + 2):
            self._draw(painter, part)

    def _draw(self, painter: QPainter, part: Fragment) -> None:
        assert self._page is not None
        box, ink = self._rect(part), self._theme.color("text" if part.place >= 0 else "muted")
        layer = int(self._page.first[part.place]) if part.place >= 0 else -1
        if layer >= 0:
            color = self.color_of(layer)
            painter.fillRect(box.adjusted(0, 0, -1, 0), color)
            ink = self._theme.text_on(color)
        painter.setPen(ink)
        painter.drawText(box, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, part.text)
        if part.place >= 0 and part.place == self._selected:
            painter.setPen(QPen(self._theme.color("surface"), 3))
            painter.drawRect(box)
            painter.setPen(QPen(self._theme.color("text"), 1.5))
            painter.drawRect(box.adjusted(-0.5, -0.5, 0.5, 0.5))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Lay out anew."""
        super().resizeEvent(event)
        self._lay_out()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Pick a token."""
        place = self.place_at(event.position().toPoint())
        if place is not None and event.button() == Qt.MouseButton.LeftButton:
            self.picked.emit(place)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Left and Right go to the token before and after."""
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if step is None or self._page is None or not self._page.texts:
            super().keyPressEvent(event)
            return
        here = self._selected + step if self._selected is not None else 0
        self.picked.emit(min(max(here, 0), len(self._page.texts) - 1))

    def viewportEvent(self, event: object) -> bool:  # noqa: N802
        """Say what the token under the mouse is."""
        if isinstance(event, QHelpEvent):
            place = self.place_at(event.pos())
            text = self._page.hint(place) if self._page is not None and place is not None else ""
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().viewportEvent(event)  # type: ignore[arg-type]
