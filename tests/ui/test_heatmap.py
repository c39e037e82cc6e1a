from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyqtgraph as pg
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication

from moedesk.analysis.heatmap import load_heatmap
from moedesk.ui.heatmap import HeatmapView
from moedesk.ui.heatmap_brush import Brush, extended
from moedesk.ui.heatmap_rows import HeatmapRows
from moedesk.ui.theme import DARK, LIGHT
from tests.support.memory_store import MemoryStore, memory_store

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture(autouse=True)
def every_move_counts() -> Iterator[None]:
    """Pyqtgraph drops moves that follow within 10 ms, as a test's do."""
    before = pg.getConfigOption("mouseRateLimit")
    pg.setConfigOption("mouseRateLimit", 0)
    yield
    pg.setConfigOption("mouseRateLimit", before)


@pytest.fixture
def store() -> MemoryStore:
    return memory_store(passes=20, layers=3, experts=8)


@pytest.fixture
def view(qtbot, store) -> HeatmapView:
    widget = HeatmapView()
    qtbot.addWidget(widget)
    widget.resize(700, 340)
    widget.show()
    widget.set_extent(HeatmapRows.of(store.model), store.n_passes)
    show_picture(widget, store)
    return widget


def show_picture(widget: HeatmapView, store: MemoryStore) -> None:
    extent = widget.extent()
    first, last = (round(end) for end in extent.passes)
    widget.set_picture(load_heatmap(store, first, last, extent.columns, extent.lines))


def click(qtbot, widget, at: QPoint, button=LEFT) -> None:
    qtbot.mouseClick(widget.viewport(), button, pos=at)


def drag(qtbot, widget, start: QPoint, end: QPoint) -> None:
    qtbot.mouseMove(widget.viewport(), start)
    qtbot.mousePress(widget.viewport(), LEFT, pos=start)
    for share in (0.3, 0.6, 1.0):
        qtbot.mouseMove(widget.viewport(), start + (end - start) * share)
    qtbot.mouseRelease(widget.viewport(), LEFT, pos=end)


def turn_wheel(widget, at: QPoint, modifiers=Qt.KeyboardModifier.NoModifier) -> None:
    position = QPointF(at)
    event = QWheelEvent(
        position,
        widget.viewport().mapToGlobal(position),
        QPoint(),
        QPoint(0, 480),
        Qt.MouseButton.NoButton,
        modifiers,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget.viewport(), event)


def axis_point(widget, number: float) -> QPoint:
    """A point in the brush strip."""
    x = widget.mapFromScene(widget._plot.mapViewToScene(QPointF(number, 0))).x()
    return QPoint(x, widget.mapFromScene(widget._pass_axis.sceneBoundingRect().topLeft()).y() + 6)


def test_each_cell_reads_as_the_counts_say(view, store):
    for layer in range(3):
        counts = store.counts(layer, by="pass")
        for expert, number in ((0, 0), (3, 5), (7, 19)):
            cell = view.cell_at(view.position_of(layer, expert, number))
            assert cell.first == cell.last == (layer, expert)
            assert cell.passes == (number, number + 1)
            assert cell.ratio == pytest.approx(counts[number, expert] * 8 / counts[number].sum(), rel=1e-6)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_colors_tell_none_from_some(view, store, theme):
    view.set_theme(theme)
    picture = view.grab().toImage()
    counts = store.counts(1, by="pass")
    for number in range(20):
        for expert in range(8):
            at = view.position_of(1, expert, number) + QPoint(8, 0)
            shown = picture.pixelColor(at).name()
            assert (shown == theme.dead) == (counts[number, expert] == 0)


def test_brighter_is_more(view, store):
    picture = view.grab().toImage()
    counts = store.counts(0, by="pass")[0]
    light = [picture.pixelColor(view.position_of(0, expert, 0) + QPoint(8, 0)).lightnessF() for expert in range(8)]
    busy = np.flatnonzero(counts)
    order = busy[np.argsort(counts[busy], kind="stable")]
    for less, more in pairwise(order):
        if counts[less] < counts[more]:
            assert light[less] < light[more]


def test_click_picks_the_cell(qtbot, view):
    with qtbot.waitSignal(view.picked) as picked:
        click(qtbot, view, view.position_of(2, 6, 11))
    assert (picked.args[0].first, picked.args[0].passes) == ((2, 6), (11, 12))


def test_right_click_asks_for_a_menu(qtbot, view):
    with qtbot.waitSignal(view.menu_asked) as asked:
        click(qtbot, view, view.position_of(1, 2, 3), Qt.MouseButton.RightButton)
    assert asked.args[0].first == (1, 2)


def test_double_click_zooms_into_the_layer_and_back(qtbot, view):
    at = view.position_of(1, 4, 10)
    for rows in ((8, 16), (0, 24)):
        click(qtbot, view, at)
        qtbot.mouseDClick(view.viewport(), LEFT, pos=at)
        qtbot.mouseRelease(view.viewport(), LEFT, pos=at)
        assert view.extent().rows == pytest.approx(rows)


def test_the_wheel_zooms_around_the_pointer(view):
    at = view.position_of(1, 4, 10)
    turn_wheel(view, at)
    extent = view.extent()
    assert extent.passes[1] - extent.passes[0] < 20
    assert extent.rows[1] - extent.rows[0] < 24
    near = view.position_of(1, 4, 10)
    assert abs(near.x() - at.x()) <= 2
    assert abs(near.y() - at.y()) <= 2


def test_shift_zooms_the_passes_and_control_the_rows(view):
    at = view.position_of(1, 4, 10)
    turn_wheel(view, at, Qt.KeyboardModifier.ShiftModifier)
    assert view.extent().rows == (0, 24)
    passes = view.extent().passes
    turn_wheel(view, at, Qt.KeyboardModifier.ControlModifier)
    assert view.extent().passes == passes
    assert view.extent().rows != (0, 24)


def test_a_drag_pans_a_zoomed_view(qtbot, view):
    turn_wheel(view, view.position_of(1, 4, 10))
    before = view.extent()
    start = view.position_of(1, 4, 10)
    drag(qtbot, view, start, start + QPoint(60, 0))
    after = view.extent()
    assert after.passes[0] < before.passes[0]
    assert after.passes[1] - after.passes[0] == pytest.approx(before.passes[1] - before.passes[0])


def test_a_drag_below_the_picture_brushes(qtbot, view):
    view.brushed.connect(view.set_brush)
    windows = []
    view.brushed.connect(windows.append)
    drag(qtbot, view, axis_point(view, 4.5), axis_point(view, 9.5))
    assert windows[-1] == (4, 10)
    drag(qtbot, view, axis_point(view, 10), axis_point(view, 15.5))
    assert windows[-1] == (4, 16)  # its end was moved
    drag(qtbot, view, axis_point(view, 8), axis_point(view, 6))
    assert windows[-1] == (2, 14)  # moved as a whole
    at = axis_point(view, 8)
    click(qtbot, view, at)
    qtbot.mouseDClick(view.viewport(), LEFT, pos=at)
    qtbot.mouseRelease(view.viewport(), LEFT, pos=at)
    assert windows[-1] is None


def test_keys_move_the_selection(qtbot, view):
    view.set_marks(0, 7, 3)
    picked = []
    view.picked.connect(picked.append)
    qtbot.keyClick(view, Qt.Key.Key_Down)
    assert (picked[-1].first, picked[-1].passes) == ((1, 0), (3, 4))
    qtbot.keyClick(view, Qt.Key.Key_Right)
    assert (picked[-1].first, picked[-1].passes) == ((0, 7), (4, 5))


def test_keys_brush_and_zoom(qtbot, view):
    view.brushed.connect(view.set_brush)
    view.set_marks(1, None, 6)
    windows = []
    view.brushed.connect(windows.append)
    for _ in range(3):
        qtbot.keyClick(view, Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
    assert windows[-1] == (6, 10)
    qtbot.keyClick(view, Qt.Key.Key_Delete)
    assert windows[-1] is None
    qtbot.keyClick(view, Qt.Key.Key_Return)
    assert view.extent().rows == pytest.approx((8, 16))
    qtbot.keyClick(view, Qt.Key.Key_Home)
    assert view.extent().rows == pytest.approx((0, 24))


def test_marks_change_the_picture(view):
    plain = view.grab().toImage()
    view.set_marks(1, 3, 5)
    marked = view.grab().toImage()
    view.set_marks(None, None, None)
    assert marked != plain
    assert view.grab().toImage() == plain
    view.set_cursor(9)
    assert view.grab().toImage() != plain


def test_a_tall_model_is_reduced_to_the_pixels(qtbot):
    store = memory_store(passes=30, layers=48, experts=512, tokens=2, top_k=2)
    widget = HeatmapView()
    qtbot.addWidget(widget)
    widget.resize(400, 200)
    widget.show()
    widget.set_extent(HeatmapRows.of(store.model), store.n_passes)
    show_picture(widget, store)
    assert widget.picture.image.shape[0] <= widget.extent().lines
    assert widget.cell_at(widget.position_of(47, 300, 0)).first[0] == 47
    widget.grab()


def test_new_passes_widen_a_whole_view_and_leave_a_zoomed_one(view, store):
    rows = HeatmapRows.of(store.model)
    view.set_extent(rows, 30)
    assert view.extent().passes == pytest.approx((0, 30))
    turn_wheel(view, view.position_of(1, 4, 10))
    zoomed = view.extent()
    view.set_extent(rows, 40)
    assert view.extent().passes == pytest.approx(zoomed.passes)


def test_without_data_it_is_calm(qtbot):
    widget = HeatmapView()
    qtbot.addWidget(widget)
    widget.resize(300, 150)
    widget.show()
    widget.set_extent(HeatmapRows(), 0)
    qtbot.mouseMove(widget.viewport(), QPoint(150, 60))
    click(qtbot, widget, QPoint(150, 60))
    qtbot.keyClick(widget, Qt.Key.Key_Down)
    assert widget.cell_at(QPoint(150, 60)) is None
    widget.grab()


@pytest.mark.parametrize(
    ("window", "start", "end", "expected"),
    [
        (None, 3.2, 3.4, (3, 4)),
        (None, 8.0, 2.0, (2, 8)),
        (None, -4.0, 99.0, (0, 20)),
        ((5, 10), 5.1, 2.0, (2, 10)),
        ((5, 10), 9.9, 12.0, (5, 12)),
        ((5, 10), 5.0, 12.0, (10, 12)),
        ((5, 10), 7.5, 30.0, (15, 20)),
        ((5, 10), 14.0, 16.0, (14, 16)),
    ],
)
def test_what_a_drag_does_to_the_brush(window, start, end, expected):
    assert Brush.grab(window, start, 0.3).moved(end, 20) == expected


def test_what_keys_do_to_the_brush():
    assert extended(None, 4, 1, 20) == (4, 6)
    assert extended(None, 4, -1, 20) == (3, 5)
    assert extended((4, 6), 4, -1, 20) == (4, 5)
    assert extended((4, 5), 4, -1, 20) == (4, 5)
    assert extended((18, 20), 4, 1, 20) == (18, 20)
