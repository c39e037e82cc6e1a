"""Flowing token text: each token on its colour; only the lines in view are drawn."""

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QPoint, QPointF, QRectF, QSizeF, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFontMetricsF,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QResizeEvent,
)
from PySide6.QtWidgets import QAbstractScrollArea, QToolTip, QWidget

from moedesk.panels.network.model_tokens import ColorBy, TokenPage, color_values, token_hint, value_range
from moedesk.ui.static_texts import StaticTexts
from moedesk.ui.theme import FIRST_LEVEL, LIGHT, Theme
from moedesk.ui.token_layout import Fragment, TokenLayout

MARGIN = 6
CORNER = 4  # of the mark of what an override changed
DIMMED = 60  # alpha of what does not match the filter


class TokenText(QAbstractScrollArea):
    """The tokens of a page, coloured by the layer's routing.

    Signals
    -------
    columns_changed
        The widget holds another number of characters per line: lay out again.
    picked : int
        Row of the token that was clicked, or reached with the arrow keys.
    menu_asked : int, QPoint
        Row of a token, and where on the screen.
    """

    columns_changed = Signal()
    picked = Signal(int)
    menu_asked = Signal(int, QPoint)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Token text")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.viewport().setMouseTracking(True)
        self._theme: Theme = LIGHT
        self._page: TokenPage | None = None
        self._layout = TokenLayout(8)
        self._by: ColorBy = "expert"
        self._values: npt.NDArray[np.float32] = np.zeros(0, np.float32)
        self._expert: int | None = None
        self._selected: int | None = None
        self._columns = 0
        self._texts = StaticTexts()
        self._known: dict[int, tuple[QColor, QColor]] = {}  # colours by expert, or by -1 - level

    @property
    def page(self) -> TokenPage | None:
        """What is shown."""
        return self._page

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """(N,) what colours the tokens, unless that is the expert."""
        return self._values

    @property
    def selected(self) -> int | None:
        """Row of the marked token."""
        return self._selected

    def columns(self) -> int:
        """Return how many characters fit on a line."""
        return max(int((self.viewport().width() - 2 * MARGIN) / self._cell().width()), 8)

    def set_text(self, page: TokenPage | None, layout: TokenLayout) -> None:
        """Show a page that was laid out."""
        self._page, self._layout = page, layout
        self._columns = layout.columns
        self._fit()
        self._color()

    def set_marks(self, by: ColorBy, expert: int | None, selected: int | None) -> None:
        """Say what to colour by, which expert's tokens to underline, and which token row to mark."""
        moved = selected != self._selected
        self._by, self._expert, self._selected = by, expert, selected
        self._color()
        if moved:
            self.show_selected()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self._known.clear()
        self.setFont(theme.mono_font)
        self.viewport().update()

    def show_selected(self) -> None:
        """Scroll the marked token into view."""
        place = self._page.place_of(self._selected) if self._page is not None else None
        line = self._layout.line_of.get(place) if place is not None else None
        if line is None:
            return
        bar, height = self.verticalScrollBar(), self._cell().height()
        top = int(line * height)
        if not bar.value() <= top <= bar.value() + self.viewport().height() - 2 * height:
            bar.setValue(int(top - self.viewport().height() / 3))

    def show_end(self) -> None:
        """Scroll to the last line."""
        self.verticalScrollBar().setValue(self.verticalScrollBar().maximum())

    def rect_of(self, row: int) -> QRectF | None:
        """Return where (in the viewport) the first part of a token lies, None if it is not shown."""
        place = self._page.place_of(row) if self._page is not None else None
        line = self._layout.line_of.get(place) if place is not None else None
        if line is None:
            return None
        return next(self._rect(part) for part in self._layout.on_lines(line, line + 1) if part.place == place)

    def row_at(self, position: QPoint) -> int | None:
        """Return the row of the token at a point of the viewport."""
        if self._page is None:
            return None
        cell = self._cell()
        line = int((position.y() - MARGIN + self.verticalScrollBar().value()) / cell.height())
        place = self._layout.at(line, (position.x() - MARGIN) / cell.width())
        return None if place is None else place + self._page.tokens.first

    def _cell(self) -> QSizeF:
        metrics = QFontMetricsF(self.font())
        return QSizeF(metrics.horizontalAdvance("M"), metrics.height() + 5)

    def _rect(self, part: Fragment) -> QRectF:
        cell = self._cell()
        top = MARGIN + part.line * cell.height() - self.verticalScrollBar().value()
        return QRectF(MARGIN + part.column * cell.width(), top, max(part.width, 1) * cell.width(), cell.height() - 2)

    def _color(self) -> None:
        if self._page is not None:
            self._values = color_values(self._page, self._by, self._expert)
        self.viewport().update()

    def _fit(self) -> None:
        height = self._cell().height()
        bar = self.verticalScrollBar()
        bar.setRange(0, max(int(self._layout.lines * height + 2 * MARGIN - self.viewport().height()), 0))
        bar.setPageStep(self.viewport().height())
        bar.setSingleStep(int(height))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the lines in view."""
        painter = QPainter(self.viewport())
        painter.fillRect(event.rect(), self._theme.color("surface"))
        painter.setFont(self.font())
        if self._page is not None:
            height = self._cell().height()
            first = int(max(self.verticalScrollBar().value() - MARGIN, 0) / height)
            last = first + int(self.viewport().height() / height) + 2
            self._draw_headings(painter, first, last)
            self._draw_parts(painter, self._layout.on_lines(first, last))
        painter.end()

    def _draw_headings(self, painter: QPainter, first: int, last: int) -> None:
        cell = self._cell()
        for line in range(first, last):
            text = self._layout.headings.get(line)
            if text is None:
                continue
            top = MARGIN + line * cell.height() - self.verticalScrollBar().value()
            box = QRectF(MARGIN, top, self.viewport().width() - 2 * MARGIN, cell.height() - 2)
            painter.setPen(self._theme.color("muted"))
            painter.drawText(box, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, text)
            painter.setPen(self._theme.color("border"))
            painter.drawLine(box.bottomLeft(), box.bottomRight())

    def _draw_parts(self, painter: QPainter, parts: list[Fragment]) -> None:
        """Draw tokens; hundreds of them a frame while a model runs, so that what they share is worked out before."""
        assert self._page is not None
        tokens, matched, cell = self._page.tokens, self._page.matched, self._cell()
        width, height, limits = cell.width(), cell.height(), value_range(self._values)
        texts = self._texts
        texts.set_font(self.font())
        lift = round((height - 2 - QFontMetricsF(self.font()).height()) / 2)
        down = MARGIN - self.verticalScrollBar().value()
        places = [part.place for part in parts]
        padding, shown = tokens.tokens["is_padding"][places].tolist(), matched[places].tolist()
        changed, routed = self._page.overridden[places].tolist(), [False] * len(places)
        if self._expert is not None:
            routed = (matched[places] & (tokens.experts[places] == self._expert).any(axis=1)).tolist()
        keys = self._keys(places, limits)
        tall = int(height) - 2
        muted = self._theme.color("muted")
        selected = None if self._selected is None else self._selected - tokens.first
        for part, padded, match, key, ours, overridden in zip(
            parts, padding, shown, keys, routed, changed, strict=True
        ):
            x, y = int(MARGIN + part.column * width), int(down + part.line * height)
            wide = int(MARGIN + (part.column + max(part.width, 1)) * width) - x
            color, ink = (None, muted) if padded or key is None else self._colors(key)
            if not match:
                ink = muted
                if color is not None:
                    color = QColor(color)
                    color.setAlpha(DIMMED)
            if color is not None:
                painter.fillRect(x, y, wide - 1, tall, color)
            painter.setPen(ink)
            painter.drawStaticText(x, y + lift, texts.get(part.text)[0])
            if ours:
                painter.fillRect(x + 1, y + tall - 3, wide - 3, 3, ink)
            if overridden:
                right = x + wide - 1
                corner = (QPointF(right - CORNER, y), QPointF(right, y), QPointF(right, y + CORNER))
                painter.setBrush(ink)
                painter.drawPolygon(QPolygonF(corner))
                painter.setBrush(Qt.BrushStyle.NoBrush)
            if selected == part.place:
                box = QRectF(x, y, wide, tall)
                painter.setPen(QPen(self._theme.color("surface"), 3))
                painter.drawRect(box)
                painter.setPen(QPen(self._theme.color("text"), 1.5))
                painter.drawRect(box.adjusted(-0.5, -0.5, 0.5, 0.5))

    def _keys(self, places: list[int], limits: tuple[float, float]) -> list[int | None]:
        """Return for each token what its colour is known by: its expert, or -1 - level; None for what is unknown."""
        assert self._page is not None
        if self._by == "expert":
            return [expert if expert >= 0 else None for expert in self._page.tokens.top_expert[places].tolist()]
        values = self._values[places] if len(self._values) == len(self._page) else np.full(len(places), np.nan)
        known = np.isfinite(values) & ((values != 0) if self._by == "weight" else True)
        shares = np.clip((np.where(known, values, 0) - limits[0]) / (limits[1] - limits[0]), 0, 1)
        levels = FIRST_LEVEL + np.round(shares * (255 - FIRST_LEVEL)).astype(int)
        return [-1 - level if fine else None for level, fine in zip(levels.tolist(), known.tolist(), strict=True)]

    def _colors(self, key: int) -> tuple[QColor, QColor]:
        """Return what lies behind a token and the colour of its text."""
        found = self._known.get(key)
        if found is None:
            lut = self._theme.load_lut
            color = QColor(self._theme.expert_color(key)) if key >= 0 else QColor(*map(int, lut[-1 - key]))
            found = self._known[key] = (color, self._theme.text_on(color))
        return found

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Lay out again if the lines hold more or fewer characters."""
        super().resizeEvent(event)
        self._fit()
        if self._page is not None and self.columns() != self._columns:
            self._columns = self.columns()
            self.columns_changed.emit()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Pick a token."""
        row = self.row_at(event.position().toPoint())
        if row is None:
            return
        if event.button() == Qt.MouseButton.LeftButton:
            self.picked.emit(row)
        elif event.button() == Qt.MouseButton.RightButton:
            self.menu_asked.emit(row, event.globalPosition().toPoint())

    def viewportEvent(self, event: object) -> bool:  # noqa: N802
        """Say everything about the token that is pointed at."""
        if isinstance(event, QHelpEvent):
            row = self.row_at(event.pos())
            if row is None or self._page is None:
                QToolTip.hideText()
            else:
                QToolTip.showText(event.globalPos(), self.hint(row), self)
            return True
        return super().viewportEvent(event)  # type: ignore[arg-type]

    def hint(self, row: int) -> str:
        """Return what the tooltip of a token says."""
        place = self._page.place_of(row) if self._page is not None else None
        return "" if self._page is None or place is None else "\n".join(token_hint(self._page, place))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Left and Right go to the token before and after, in the order of reading."""
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if step is None or self._page is None or not self._layout.fragments:
            super().keyPressEvent(event)
            return
        places = list(dict.fromkeys(part.place for part in self._layout.fragments))
        here = self._page.place_of(self._selected)
        index = places.index(here) + step if here in places else 0
        self.picked.emit(places[min(max(index, 0), len(places) - 1)] + self._page.tokens.first)
