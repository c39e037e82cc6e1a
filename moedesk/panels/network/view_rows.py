"""Paints the rows of the table of passes: dozens of them 30 times a second while a model runs."""

from PySide6.QtCore import QRect, QRectF, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QPainter, QPixmap
from PySide6.QtWidgets import QTableView

from moedesk.panels.network.view_pass_table import LEFT_ALIGNED, TIMELINE, PassTable
from moedesk.ui.static_texts import StaticTexts
from moedesk.ui.theme import LIGHT, Theme

_MARGIN = 4


class RowPainter:
    """Draws a ``PassTable`` in a view whose rows are all of one height, and in its last column when each pass ran.

    Nothing here has icons, fonts or backgrounds of its own. So the view's delegates, which ask the model and the style for all of
    them cell by cell, are left out: they cost ten times as much. What a row says is final, so that its picture is kept: a table
    that moves on by a few passes draws only those.
    """

    def __init__(self, view: QTableView, table: PassTable) -> None:
        self._view, self._table = view, table
        self._texts = StaticTexts()
        self._pictures: dict[int, QPixmap] = {}  # of rows, by pass
        self._drawn_as: tuple[object, ...] = ()
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
        columns = self._columns()
        lift = round((height - metrics.height()) / 2)
        self._forget(columns, rows)
        for row in rows:
            top = start + (row - first) * height
            if row in chosen:
                painter.fillRect(QRect(area.left(), top, area.width(), height), theme.color("selection"))
                painter.setPen(theme.color("selection_text"))
                self._row(painter, row, top + lift, columns, metrics)
            else:
                painter.drawPixmap(0, top, self._picture(row, height, lift, columns, metrics, text))
        self._bars(painter, rows, start, height, columns, accent)
        current = view.currentIndex()
        if current.isValid() and view.hasFocus():
            painter.setPen(theme.color("focus"))
            painter.drawRect(view.visualRect(current).adjusted(0, 0, -1, -1))
        painter.end()

    def _forget(self, columns: list[tuple[int, int, int]], rows: range) -> None:
        """Let go of pictures of rows that would look different now, or that are out of sight."""
        view = self._view
        drawn_as = (self._table.version, tuple(columns), self.theme, view.font(), view.viewport().width())
        if drawn_as != self._drawn_as:
            self._drawn_as = drawn_as
            self._pictures.clear()
        elif len(self._pictures) > 2 * len(rows):
            shown = {int(self._table.numbers[row]) for row in rows}
            self._pictures = {number: self._pictures[number] for number in shown & self._pictures.keys()}

    def _picture(
        self, row: int, height: int, lift: int, columns: list[tuple[int, int, int]], metrics: QFontMetricsF, ink: QColor
    ) -> QPixmap:
        """Return the picture of a row that is not selected."""
        number = int(self._table.numbers[row])
        picture = self._pictures.get(number)
        if picture is None:
            viewport = self._view.viewport()
            ratio = viewport.devicePixelRatioF()
            picture = QPixmap(round(viewport.width() * ratio), round(height * ratio))
            picture.setDevicePixelRatio(ratio)
            picture.fill(self.theme.color("surface"))
            painter = QPainter(picture)
            painter.setFont(self._view.font())
            painter.setPen(ink)
            if self._row(painter, row, lift, columns, metrics):
                self._pictures[number] = picture
            painter.end()
        return picture

    def _row(
        self, painter: QPainter, row: int, top: int, columns: list[tuple[int, int, int]], metrics: QFontMetricsF
    ) -> bool:
        """Draw the cells of a row; return whether all of them are known."""
        table, texts, known = self._table, self._texts, True
        for place, left, wide in columns:
            text = table.text(row, place)
            if not text:
                known = known and text is not None
                continue
            static, width = texts.get(text)
            room = wide - 2 * _MARGIN
            if width > room:
                static, width = texts.get(metrics.elidedText(text, Qt.TextElideMode.ElideRight, room))
            shift = _MARGIN if place in LEFT_ALIGNED else wide - _MARGIN - width
            painter.drawStaticText(int(left + shift), top, static)
        return known

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

    def _columns(self) -> list[tuple[int, int, int]]:
        """Return place, left end and width of the columns in sight."""
        view, found = self._view, []
        sight = view.viewport().width()
        for place in range(self._table.columnCount()):
            left, width = view.columnViewportPosition(place), view.columnWidth(place)
            if not view.isColumnHidden(place) and left + width > 0 and left < sight:
                found.append((place, left, width))
        return found
