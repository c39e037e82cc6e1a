"""The Waterfall panel: toolbar, routing waterfall, and the curves of balance below it."""

import time
from dataclasses import replace
from typing import Any

from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QMenu, QSplitter, QStackedLayout, QVBoxLayout, QWidget

from moedesk.analysis.balance import BALANCE
from moedesk.analysis.heatmap import Cell
from moedesk.analysis.waterfall import Frame
from moedesk.analysis.waterfall_measure import MEASURES
from moedesk.core.selection import Kind, Selection
from moedesk.panels.waterfall import model as texts
from moedesk.panels.waterfall.feed import Feed
from moedesk.panels.waterfall.spec import SPEC
from moedesk.panels.waterfall.view_controls import Controls
from moedesk.session.overriding import TOPIC
from moedesk.session.session import Session
from moedesk.ui.break_menu import add_break_actions
from moedesk.ui.curves import CurvePoint, CurvesView
from moedesk.ui.curves_plot import Curve
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.override_marks import OverrideMarks
from moedesk.ui.override_menu import add_override_actions
from moedesk.ui.panel import Panel, Shell
from moedesk.ui.reveal import add_reveal_actions
from moedesk.ui.theme import Theme
from moedesk.ui.waterfall import WaterfallView

CURVES = {
    "cv": ((0.0, None), True),
    "maxvio": ((0.0, None), True),
    "entropy_normalized": ((None, 1.0), False),
    "cv_sample": ((0.0, None), True),
    "load_imbalance": ((1.0, None), True),
    "expert_diversity": ((None, 1.0), False),
    "kl_uniform": ((0.0, None), True),
}
READOUT = "Point at the picture to read it"


class WaterfallPanel(Panel):
    """Routing as it happens: experts from top to bottom, passes from left to right."""

    def __init__(self, session: Session, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(session, shell, parent)
        self.waterfall = WaterfallView(shell.opengl)
        self.curves = CurvesView(self.waterfall.scene)
        self.controls = Controls()
        self.caption = ElidedLabel()
        self.readout = ElidedLabel(READOUT)
        self.empty = QLabel()
        self.feed = Feed(session, self._renewed, self._taken, self._failed)
        self.automatic = True  # whether the zoom over passes is chosen here
        self._pace = texts.Pace()
        self._hovered: Cell | None = None
        self._lay_out()
        self._connect()
        self.set_theme(shell.theme)

    def _lay_out(self) -> None:
        self.splitter = QSplitter(Qt.Orientation.Vertical)
        self.splitter.addWidget(self.waterfall)
        self.splitter.addWidget(self.curves)
        self.splitter.setStretchFactor(0, 3)
        self.splitter.setStretchFactor(1, 2)
        self.splitter.setCollapsible(0, False)
        self.splitter.setSizes([420, 240])
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.empty.setWordWrap(True)
        self.empty.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 2)
        column.setSpacing(1)
        column.addWidget(self.controls)
        for parts in ((self.caption, self.controls.legend), (self.readout,)):
            line = QHBoxLayout()
            line.setContentsMargins(6, 0, 8, 0)
            line.addWidget(parts[0], 1)
            for part in parts[1:]:
                line.addWidget(part)
            column.addLayout(line)
        column.insertWidget(2, self.splitter, 1)
        self._content = content
        self._pages = QStackedLayout(self)
        self._pages.addWidget(content)
        self._pages.addWidget(self.empty)

    def _connect(self) -> None:
        view = self.waterfall
        view.view_changed.connect(self._ask)
        view.view_changed.connect(self._redraw_curves)
        view.view_changed.connect(self._mark_overridden)
        view.zoomed.connect(self._zoomed)
        view.follow_changed.connect(self._followed)
        view.hovered.connect(self._hover)
        view.picked.connect(self._pick)
        view.menu_asked.connect(self._menu)
        view.brushed.connect(self.session.brush)
        view.refused.connect(
            lambda why: self.shell.say(f"The waterfall is drawn without OpenGL, which refused it: {why}")
        )
        self.curves.hovered.connect(self._hover_curve)
        self.curves.picked.connect(self._pick_curve)
        self.controls.measure_chosen.connect(self._measure_chosen)
        self.controls.window_chosen.connect(lambda _: self._ask())
        self.controls.curves_chosen.connect(self._show_curves)
        self.controls.follow_chosen.connect(view.set_follow)
        self.controls.all_asked.connect(self._show_all)

    def refresh(self, changed: frozenset[str]) -> None:
        """Take over what changed in the session."""
        store, session = self.session.store, self.session
        empty = texts.empty_text(store.model, store.n_passes, session.live is not None)
        if empty:
            self.empty.setText("\n\n".join((empty, *store.notes)))
        self._pages.setCurrentWidget(self.empty if empty else self._content)
        if empty:
            return
        if "live" in changed and session.live is not None:
            self.waterfall.set_follow(session.live.follow)
        if "store" in changed:
            self._grown()
        if "conventions" in changed:
            self.controls.set_conventions(session.conventions)
            self._ask()
        if changed & {"store", "selection"}:
            selected = session.selection
            self.waterfall.set_marks(selected.layer, selected.expert, selected.pass_id)
        if changed & {"store", "live", "window", "cursor", TOPIC}:
            self._mark_overridden()
        if changed & {"store", "window"}:
            self.waterfall.set_brush(session.window)
        if changed & {"store", "cursor"}:
            self.waterfall.set_cursor(session.cursor)
        self._redraw_curves()

    def _mark_overridden(self) -> None:
        """Mark what acted on the passes in view."""
        view, end = self.waterfall.viewport, self.waterfall.scene.end
        first, last = view.columns(end)
        shown = self.session.overriding.in_view(first * view.passes, min(last * view.passes, end))
        self.waterfall.set_overridden(OverrideMarks.of(shown))

    def _redraw_curves(self) -> None:
        if not self.waterfall.held:  # else they move on with the picture
            self.curves.update()

    def _grown(self) -> None:
        store, view = self.session.store, self.waterfall
        first_time = not view.scene.end
        grown = store.n_passes > view.scene.end
        if grown and self.session.live is not None and view.follow and self.feed.ring is not None:
            view.hold()
        view.set_extent(store.model, store.n_passes)
        if self.automatic and view.follow:
            if self.session.live is not None:
                per_pass = self._pace.per_pass(time.monotonic(), store.n_passes)
                new = replace(view.viewport, per_pass=per_pass)
            else:
                new = view.viewport.fitted(store.n_passes) if first_time else view.viewport
            view.set_viewport(new.scrolled(store.n_passes, store.n_passes))
        self._ask()

    def _ask(self) -> None:
        """Ask for the columns that are in view and not there yet."""
        view, end = self.waterfall.viewport, self.waterfall.scene.end
        if not end or not self.session.store.model.layers:
            return
        chosen = self.session.conventions
        frame = Frame(self.controls.measure, view.passes, view.rows, view.height, self.controls.window_passes, chosen)
        self.feed.want(frame, *view.columns(end), end, 2 * view.width)

    def _renewed(self) -> None:
        ring, frame = self.feed.ring, self.feed.frame
        assert ring is not None
        assert frame is not None
        self.waterfall.set_ring(ring, frame, self.session.store.model)
        self._show_curves()

    def _taken(self, first: int, last: int) -> None:
        self.waterfall.take(first, last)
        self.curves.update()
        self._describe()

    def _describe(self) -> None:
        """Say what is drawn and what is left out."""
        ring, frame = self.feed.ring, self.feed.frame
        if ring is None or frame is None:
            return
        columns = self.waterfall.viewport.columns(self.waterfall.scene.end)
        sums = [int(ring.get(name, *columns).sum()) for name in ("passes", "read", "bare", "spared")]
        view = texts.InView(sums[0], sums[1], sums[2], sums[3], self.feed.coarse, self.feed.cut)
        text = texts.caption(frame, self.waterfall.scene.row_edges, view)
        if text != self.caption.text():
            self.caption.setText(text)

    def _failed(self, error: Exception) -> None:
        self.caption.setText(f"The routing could not be read: {error}")
        self.waterfall.release()

    def _show_curves(self) -> None:
        frame = self.feed.frame
        keys = self.controls.curves
        chosen = frame.conventions if frame is not None else self.session.conventions
        self.curves.setVisible(bool(keys))
        window = (
            frame.window if frame is not None else self.controls.window_passes
        )  # what is drawn, not what is asked for
        self.curves.show_curves(
            [
                Curve(BALANCE.index(key), texts.curve_title(chosen.of(key), window), *CURVES[chosen.of(key)])
                for key in keys
            ]
        )

    def _measure_chosen(self) -> None:
        self.controls.legend.set_measure(MEASURES[self.controls.measure])
        self._ask()

    def _zoomed(self) -> None:
        self.automatic = False

    def _show_all(self) -> None:
        self.waterfall.show_all()

    def _followed(self, follow: bool) -> None:
        self.controls.set_follow(follow)
        if self.session.live is not None and self.session.live.follow != follow:
            self.session.live.set_follow(follow)

    def _hover(self, cell: Cell | None) -> None:
        if cell is None:
            self._hovered = None
            self.readout.setText(READOUT)
        elif cell != self._hovered:
            self._hovered = cell
            text = texts.cell_text(cell, self.session.store.model, self._shown_measure)
            overridden = self.session.overriding.over(*cell.passes)
            text = " · ".join(filter(None, (text, overridden.said_of(cell.first, cell.last))))
            self.readout.setText(text)
            store = self.session.store
            self.session.jobs.latest(
                "waterfall.hover",
                lambda _: texts.more_text(store, cell),
                lambda slots: self._add_slots(cell, text, slots),
                self._failed,
            )

    @property
    def _shown_measure(self) -> str:
        return self.feed.frame.measure if self.feed.frame is not None else self.controls.measure

    def _add_slots(self, cell: Cell, text: str, slots: str) -> None:
        if self._hovered == cell:
            self.readout.setText(f"{text} · {slots}")

    def _hover_curve(self, point: CurvePoint | None) -> None:
        if point is None:
            self.readout.setText(READOUT)
            return
        frame = self.feed.frame
        chosen = frame.conventions if frame is not None else self.session.conventions
        key = chosen.of(BALANCE[point.curve.place])
        self.readout.setText(texts.curve_text(key, point.passes, point.values, point.layer, point.window))

    def _pick_curve(self, point: CurvePoint) -> None:
        if point.layer is not None:
            single = point.passes[0] if point.passes[1] - point.passes[0] == 1 else None
            self.session.select(Selection(Kind.LAYER, pass_id=single, layer=point.layer))

    def _pick(self, cell: Cell) -> None:
        frame = self.feed.frame
        if cell.first == cell.last or frame is None:
            self.session.select(texts.selection_of(cell.first, cell.passes))
            return
        store = self.session.store
        self.session.jobs.latest(
            "waterfall.pick",
            lambda _: texts.peak_of(store, frame, cell),
            lambda place: self.session.select(texts.selection_of(place, cell.passes)),
            self._failed,
        )

    def _menu(self, cell: Cell, position: QPoint) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.fill_menu(menu, cell)
        menu.popup(position)

    def fill_menu(self, menu: QMenu, cell: Cell) -> None:
        """Fill a context menu for a cell: its expert, its layer, its pass."""
        selection = texts.selection_of(cell.first, cell.passes)
        layer = cell.first[0]
        menu.addAction(f"Select {selection}", lambda: self.session.select(selection))
        menu.addAction(f"Show only layer {layer}", lambda: self.waterfall.show_layer(layer))
        menu.addAction("Show all layers and passes", self._show_all)
        add_override_actions(menu, selection, self.session, self.shell)
        add_break_actions(menu, selection, self.session, self.shell)
        add_reveal_actions(menu, selection, self.session, self.shell, SPEC.id)
        if selection.pass_id is not None:
            add_reveal_actions(menu, Selection(Kind.PASS, pass_id=selection.pass_id), self.session, self.shell, SPEC.id)

    def focus_find(self) -> None:
        """Put the keyboard into the picture."""
        self.waterfall.setFocus()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.waterfall.set_theme(theme)
        self.curves.update()
        self.controls.set_theme(theme)

    def save_state(self) -> dict[str, object]:
        """Return what is chosen, and sizes."""
        return {**self.controls.save_state(), "sizes": self.splitter.sizes()}

    def restore_state(self, state: dict[str, object]) -> None:
        """Take over what ``save_state`` returned; what doesn't fit is left as it is."""
        self.controls.restore_state(state)
        sizes: Any = state.get("sizes")
        if isinstance(sizes, list) and len(sizes) == 2 and all(isinstance(size, int) for size in sizes) and any(sizes):
            self.splitter.setSizes(sizes)
        self._measure_chosen()
        self._show_curves()
