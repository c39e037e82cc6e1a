"""The overview: the load heatmap with its legend, what is pointed at, and how the picture was reduced."""

from math import ceil, floor

from PySide6.QtCore import QPoint, Signal
from PySide6.QtWidgets import QHBoxLayout, QToolButton, QToolTip, QVBoxLayout, QWidget

from moedesk.analysis.heatmap import Cell, Heatmap
from moedesk.analysis.pass_labels import PassLabels, pass_labels
from moedesk.panels.network.model_overview import (
    View,
    busiest,
    cell_text,
    counts_of,
    passes_text,
    picture_of,
    selection_of,
    slots_text,
)
from moedesk.panels.network.model_search import Found
from moedesk.session.jobs import Ticket
from moedesk.session.overriding import TOPIC
from moedesk.session.session import Session
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.heatmap import HeatmapExtent, HeatmapView
from moedesk.ui.heatmap_rows import HeatmapRows
from moedesk.ui.label_bands import LabelLegend
from moedesk.ui.measure_legend import MeasureLegend
from moedesk.ui.override_marks import OverrideMarks
from moedesk.ui.paced_question import PacedQuestion
from moedesk.ui.theme import Theme

HELP = """Click an expert to select it; double-click to zoom into its layer and back.
Wheel zooms (Shift: passes, Ctrl: experts), drag moves.
Drag below the picture to brush passes; double-click there shows all.
Keys: arrows, Shift+arrows brush, + −, Return, Home."""


class Overview(QWidget):
    """Asks for a picture of what is in view whenever that changes, and draws it when it comes.

    Signals
    -------
    menu_asked : Selection, QPoint
    """

    menu_asked = Signal(object, QPoint)

    def __init__(self, session: Session, opengl: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.heatmap = HeatmapView(opengl)
        self.help = QToolButton()  # not on the picture: a tip there would cover what is pointed at
        self.help.setAutoRaise(True)
        self.help.setText("?")
        self.help.setToolTip(HELP)
        self.help.setAccessibleName("How to use the picture")
        self.help.clicked.connect(self._show_help)
        self.caption = ElidedLabel()
        self.readout = ElidedLabel()
        self.legend = MeasureLegend()
        self.brush_button = QToolButton()
        self.brush_button.setToolTip("Show all passes again (double-click below the picture)")
        self.brush_button.hide()
        self._hovered: Cell | None = None
        self._found: Found | None = None
        self._growing = False
        self._followed = True
        self._picture = PacedQuestion(session, "network.heatmap", self)
        self._labels = PacedQuestion(session, "network.labels", self, rest=1.0)
        self.labels = PassLabels()
        self.label_legend = LabelLegend()
        self._lay_out()
        self.heatmap.view_changed.connect(self.ask)
        self.heatmap.view_changed.connect(self._mark_overridden)
        self.heatmap.hovered.connect(self._hover)
        self.heatmap.picked.connect(self._pick)
        self.heatmap.menu_asked.connect(self._menu)
        self.heatmap.brushed.connect(session.brush)
        self.brush_button.clicked.connect(lambda: session.brush(None))

    def _lay_out(self) -> None:
        header = QHBoxLayout()
        header.setContentsMargins(6, 2, 8, 0)
        header.addWidget(self.caption, 1)
        header.addWidget(self.brush_button)
        header.addWidget(self.help)
        header.addWidget(self.legend)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 2)
        column.setSpacing(1)
        column.addLayout(header)
        column.addWidget(self.heatmap, 1)
        footer = QHBoxLayout()
        footer.setContentsMargins(6, 0, 8, 0)
        footer.addWidget(self.readout, 3)
        footer.addWidget(self.label_legend, 2)
        column.addLayout(footer)
        self._hover(None)

    def refresh(self, changed: frozenset[str]) -> None:
        """Take over what changed in the session."""
        session = self._session
        if "store" in changed:
            rows = HeatmapRows.of(session.store.model)
            if session.live is not None and rows == self.heatmap.rows and self.heatmap.picture is not None:
                self._grow()
            else:
                self.heatmap.set_extent(rows, session.store.n_passes)
        if changed & {"store", "labels"}:
            store = session.store
            self._labels.ask(lambda _: pass_labels(store), self._show_labels, self._fail, urgent="labels" in changed)
        if "live" in changed and session.live is not None:
            if session.live.follow and not self._followed and not self.heatmap.at_end:
                self.heatmap.show_end()
            self._followed = session.live.follow
        if changed & {"store", "selection"}:
            selected = session.selection
            self.heatmap.set_marks(selected.layer, selected.expert, selected.pass_id)
        if changed & {"store", "live", "window", "cursor", TOPIC}:
            self._mark_overridden()
        if changed & {"store", "window"}:
            self.heatmap.set_brush(session.window)
            if self.brush_button.isHidden() != (session.window is None):
                self.brush_button.setVisible(session.window is not None)
            if session.window is not None:
                self.brush_button.setText(f"{passes_text(session.window)}  ✕")
        if changed & {"store", "cursor"}:
            self.heatmap.set_cursor(session.cursor)

    def _mark_overridden(self) -> None:
        """Mark what acted on the passes that the picture shows."""
        left, right = self.heatmap.extent().passes
        shown = self._session.overriding.in_view(floor(left), ceil(right))
        self.heatmap.set_overridden(OverrideMarks.of(shown))

    def _show_help(self) -> None:
        QToolTip.showText(self.help.mapToGlobal(self.help.rect().bottomLeft()), HELP, self.help)

    def set_found(self, found: Found | None) -> None:
        """Show the matching slots only; all with None."""
        self._found = found
        self.ask()

    def ask(self) -> None:
        """Ask for the picture of what is in view, at once."""
        if self._growing:
            return
        store, found = self._session.store, self._found
        extent = self.heatmap.extent()
        if store.n_passes and store.model.layers:
            view = _view(extent, floor(extent.passes[0]), ceil(extent.passes[1]))
            self._picture.ask(lambda _: picture_of(store, view, found), self._show, self._fail, urgent=True)

    def _grow(self) -> None:
        """Take in new passes: with their picture if they are in view, so that axis and picture always agree."""
        heatmap, store, found = self.heatmap, self._session.store, self._found
        live = self._session.live
        if not heatmap.shows_all and not (heatmap.at_end and live is not None and live.follow):
            self._set_passes(store.n_passes)
            return
        extent = heatmap.extent()
        width = ceil(extent.passes[1]) - floor(extent.passes[0])
        whole, older = heatmap.shows_all, heatmap.picture

        def work(_: Ticket) -> tuple[int, Heatmap]:
            passes = store.n_passes
            first = 0 if whole else max(passes - width, 0)
            return passes, picture_of(store, _view(extent, first, passes), found, older)

        def done(answer: tuple[int, Heatmap]) -> None:
            self._set_passes(answer[0])
            self._show(answer[1])

        self._picture.ask(work, done, self._fail)

    def _set_passes(self, passes: int) -> None:
        self._growing = True
        self.heatmap.set_extent(self.heatmap.rows, passes, follow=True)
        self._growing = False

    def _show(self, picture: Heatmap) -> None:
        self.heatmap.set_picture(picture)
        only = "" if self._found is None else "; only slots that match the filter, ÷ uniform share of all slots"
        text = picture.reduction + only
        if text != self.caption.text():
            self.caption.setText(text)

    def _show_labels(self, labels: PassLabels) -> None:
        self.labels = labels
        self.heatmap.set_labels(labels)
        self.label_legend.set_names(labels.names)

    def _fail(self, error: Exception) -> None:
        self.caption.setText(f"The heatmap could not be read: {error}")

    def _hover(self, cell: Cell | None) -> None:
        if cell is None:
            self._hovered = None
            self.readout.setText("Point at the picture to read it")
        elif cell != self._hovered:
            self._hovered = cell
            text = cell_text(cell, self._session.store.model, self.labels)
            overridden = self._session.overriding.over(*cell.passes)
            text = " · ".join(filter(None, (text, overridden.said_of(cell.first, cell.last))))
            self.readout.setText(text)
            store, found = self._session.store, self._found
            self._session.jobs.latest(
                "network.hover",
                lambda _: slots_text(counts_of(store, found, cell.passes), cell),
                lambda slots: self._add_slots(cell, text, slots),
                self._fail,
            )

    def _add_slots(self, cell: Cell, text: str, slots: str) -> None:
        if self._hovered == cell:
            self.readout.setText(f"{text} · {slots}")

    def _pick(self, cell: Cell) -> None:
        if cell.first == cell.last:
            self._session.select(selection_of(cell.first, cell.passes))
            return
        store, found = self._session.store, self._found
        self._session.jobs.latest(
            "network.pick",
            lambda _: busiest(counts_of(store, found, cell.passes), cell),
            lambda place: self._session.select(selection_of(place, cell.passes)),
            self._fail,
        )

    def _menu(self, cell: Cell, position: QPoint) -> None:
        self.menu_asked.emit(selection_of(cell.first, cell.passes), position)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.heatmap.set_theme(theme)
        self.legend.set_theme(theme)
        self.label_legend.set_theme(theme)


def _view(extent: HeatmapExtent, first: int, last: int) -> View:
    return View(first, last, extent.columns, extent.lines, (floor(extent.rows[0]), ceil(extent.rows[1])))
