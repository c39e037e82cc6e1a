"""Paints the rows of the table of passes: dozens of them 30 times a second while a model runs."""

from PySide6.QtCore import QRect, QRectF, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QPainter
from PySide6.QtWidgets import QTableView

from moedesk.panels.network.view_pass_table import LEFT_ALIGNED, TIMELINE, PassTable
from moedesk.ui.static_texts import StaticTexts
from moedesk.ui.theme import LIGHT, Theme

_MARGIN = 4


class RowPainter:
    """Draws a ``PassTable`` in a view whose rows are all of one height, and in its last column when each pass ran.

    Nothing here has icons, fonts or backgrounds of its own. So the view's delegates, which ask the model and the style for all of
    them cell by cell, are left out: they cost ten times as much.
    """

    def __init__(self, view: QTableView, table: PassTable) -> None:
        self._view, self._table = view, table
        self._texts = StaticTexts()
        self.theme: Theme = LIGHT

    def paint(self, area: QRect) -> None:
        """Draw the rows within a part of the viewport."""
        view, theme = self._view, self.theme
        painter = QPainter(view.viewport())
        painter.fillRect(area, theme.color("surface"))
        painter.setFont(view.font())
        self._texts.set_font(view.font())
        metrics = QFontMetricsF(view.font())
        first, height = max(view.rowAt(area.top()), 0), view.verticalHeader().defaultSectionSize()
        start = view.rowViewportPosition(first)
        rows = range(first, min(first + (area.bottom() - start) // height + 1, self._table.rowCount()))
        chosen = {index.row() for index in view.selectionModel().selectedRows()}
        text, accent = theme.color("text"), theme.color("accent")
        painter.setPen(text)
        columns = self._columns(area)
        lift = round((height - metrics.height()) / 2)
        for row in rows:
            top = start + (row - first) * height
            if row in chosen:
                painter.fillRect(QRect(area.left(), top, area.width(), height), theme.color("selection"))
                painter.setPen(theme.color("selection_text"))
            self._row(painter, row, top + lift, columns, metrics)
            if row in chosen:
                painter.setPen(text)
        self._bars(painter, rows, start, height, columns, accent)
        current = view.currentIndex()
        if current.isValid() and view.hasFocus():
            painter.setPen(theme.color("focus"))
            painter.drawRect(view.visualRect(current).adjusted(0, 0, -1, -1))
        painter.end()

    def _row(
        self, painter: QPainter, row: int, top: int, columns: list[tuple[int, int, int]], metrics: QFontMetricsF
    ) -> None:
        table, texts = self._table, self._texts
        for place, left, wide in columns:
            text = table.text(row, place)
            if not text:
                continue
            static, width = texts.get(text)
            room = wide - 2 * _MARGIN
            if width > room:
                static, width = texts.get(metrics.elidedText(text, Qt.TextElideMode.ElideRight, room))
            shift = _MARGIN if place in LEFT_ALIGNED else wide - _MARGIN - width
            painter.drawStaticText(int(left + shift), top, static)

    def _bars(
        self,
        painter: QPainter,
        rows: range,
        start: int,
        height: int,
        columns: list[tuple[int, int, int]],
        color: QColor,
    ) -> None:
        """Draw when each pass ran, at least two pixels wide."""
        for _, left, wide in [column for column in columns if column[0] == TIMELINE]:
            low, room, thick = left + _MARGIN, wide - 2 * _MARGIN, max(height * 0.45, 4)
            for row in rows:
                bar = self._table.bar(row)
                if bar is None:
                    continue
                begin, end = (low + room * min(max(share, 0.0), 1.0) for share in bar)
                top = start + (row - rows.start) * height + (height - thick) / 2
                painter.fillRect(QRectF(min(begin, low + room - 2), top, max(end - begin, 2), thick), color)

    def _columns(self, area: QRect) -> list[tuple[int, int, int]]:
        """Return place, left end and width of the columns in a part of the viewport."""
        view, found = self._view, []
        for place in range(self._table.columnCount()):
            left, width = view.columnViewportPosition(place), view.columnWidth(place)
            if not view.isColumnHidden(place) and left + width > area.left() and left <= area.right():
                found.append((place, left, width))
        return found
