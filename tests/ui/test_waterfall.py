"""The waterfall's view and raster canvas against pictures worked out pixel by pixel."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QImage, QWheelEvent
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from moedesk.analysis.ring import ColumnRing
from moedesk.analysis.waterfall import Frame, new_ring, offsets_of, read_columns
from moedesk.ui.theme import DARK, LIGHT
from moedesk.ui.waterfall import WaterfallView
from moedesk.ui.waterfall_raster import RasterCanvas
from moedesk.ui.waterfall_scene import Scene
from moedesk.ui.waterfall_viewport import Viewport, row_y
from tests.support.growing_store import GrowingStore, growing_store

LEFT = Qt.MouseButton.LeftButton


def pixels(widget: QWidget) -> np.ndarray:
    """(height, width, 3) blue, green, red of a widget."""
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine() // 4, 4)
    return rows[:, : image.width(), :3].copy()


def expected(scene: Scene) -> np.ndarray:
    """Every pixel by itself: which column, which row, which colour."""
    view, ring = scene.viewport, scene.ring
    assert ring is not None
    surface = scene.theme.color("surface")
    result = np.empty((view.height, view.width, 3), np.uint8)
    result[:] = surface.blue(), surface.green(), surface.red()
    rows = np.arange(view.height) * ring["image"].shape[0] // view.height
    for x in range(view.width):
        number = view.pass_at(x + 0.5)
        column = int(number // scene.passes)
        if 0 <= number < scene.end and ring.first <= column < ring.last:
            indexes = ring["image"][rows, column % ring.capacity]
            result[:, x] = scene.lut[indexes][:, [2, 1, 0]]
    return result


@given(st.floats(0.01, 32), st.floats(1, 5000), st.integers(1, 2000))
def test_pixels_and_passes_map_onto_one_another(per_pass: float, right: float, width: int) -> None:
    view = Viewport(right, per_pass, (0, 10), width, 100)
    assert view.passes * per_pass >= 0.999
    assert view.passes == 1 or view.passes * per_pass < 2.001
    assert view.passes & (view.passes - 1) == 0
    assert view.pass_at(view.x(17.25)) == pytest.approx(17.25, abs=1e-6)
    assert view.x(right) == width
    end = int(right) + 1
    first, last = view.columns(end)
    for x in (0, width / 2, width - 0.01):
        number = view.pass_at(x)
        if 0 <= number < min(end, right):
            assert first <= number // view.passes < last


@given(st.floats(0.2, 5), st.floats(0, 800), st.booleans(), st.integers(1, 3000), st.floats(0, 3000))
def test_zooming_keeps_what_is_pointed_at_and_stays_within(
    factor: float, x: float, follow: bool, end: int, right: float
) -> None:
    view = Viewport(0, 4, (0, 10), 800, 100).scrolled(right, end)
    new = view.zoomed(factor, x, end, follow)
    assert new.right <= end + 1e-6
    if follow:
        assert new.right == end
    elif new.left > 0 and new.right < end - 1:
        assert new.pass_at(x) == pytest.approx(view.pass_at(x), abs=1.5 / new.per_pass + 1e-6)
    assert view.fitted(end).left <= 1e-6 + max(0, end - 800 / view.fitted(end).per_pass)


def test_rows_zoom_around_the_pointer_and_stay_within() -> None:
    view = Viewport(100, 4, (0, 96), 800, 960)
    assert view.rows_zoomed(0.5, 0, 96).rows == (0, 48)
    assert view.rows_zoomed(0.5, 960, 96).rows == (48, 96)
    assert view.rows_zoomed(0.5, 480, 96).rows == (24, 72)
    assert view.rows_zoomed(0.001, 480, 96).rows == (46, 50)
    assert view.rows_zoomed(0.5, 960, 96).rows_zoomed(100, 0, 96).rows == (0, 96)
    assert view.rows_from(90, 20, 96).rows == (76, 96)
    assert row_y(5, np.array([0, 4, 6, 10]), 300) == pytest.approx(150)


@pytest.mark.parametrize("per_pass", [1.0, 2.0, 5.0])
def test_the_ring_paints_what_a_full_redraw_paints(qapp: QApplication, per_pass: float) -> None:
    rng = np.random.default_rng(3)
    width, height, rows = 120, 60, 20
    scene = Scene(Viewport(0, per_pass, (0, rows), width, height), row_edges=np.arange(rows + 1), theme=DARK)
    canvas = RasterCanvas(scene)
    canvas.resize(width, height)
    scene.ring = ColumnRing(130, {"image": ((rows,), np.uint8)})
    canvas.renew()
    end = 0
    for _ in range(40):
        count = int(rng.integers(1, 40))
        span = scene.ring.put(end, {"image": rng.integers(0, 256, (rows, count)).astype(np.uint8)})
        canvas.take(*span)
        end += count
        scene.end = end
        scene.viewport = scene.viewport.scrolled(end if rng.random() < 0.6 else end - int(rng.integers(0, 60)), end)
        drawn = pixels(canvas)
        np.testing.assert_array_equal(drawn, expected(scene))
        again = RasterCanvas(scene)
        again.resize(width, height)
        again.renew()
        np.testing.assert_array_equal(drawn, pixels(again))
        again.deleteLater()
    canvas.deleteLater()


def test_many_passes_a_column_and_rows_that_are_stretched(qapp: QApplication) -> None:
    rng = np.random.default_rng(4)
    scene = Scene(Viewport(997.0, 0.25, (0, 64), 200, 64), passes=4, row_edges=np.arange(0, 65, 2), end=997)
    scene.ring = ColumnRing(400, {"image": ((32,), np.uint8)})
    scene.ring.put(0, {"image": rng.integers(0, 256, (32, 250)).astype(np.uint8)})
    canvas = RasterCanvas(scene)
    canvas.resize(200, 64)
    canvas.renew()
    different = (pixels(canvas) != expected(scene)).any(-1)
    assert different.mean() < 0.02  # where a column's edge falls on the middle of a pixel
    canvas.deleteLater()


@pytest.fixture
def store() -> GrowingStore:
    return growing_store(passes=300, layers=3, experts=8)


@pytest.fixture
def view(qtbot: QtBot, store: GrowingStore) -> Iterator[WaterfallView]:
    view = WaterfallView()
    view.resize(66 + 8 + 400, 34 + 240)
    view.show()
    fill(view, store)
    yield view
    view.close()
    view.deleteLater()


def fill(view: WaterfallView, store: GrowingStore) -> None:
    """Put every column into the view's ring."""
    view.set_extent(store.model, store.n_passes)
    at = view.viewport
    columns = read_columns(store, Frame("load", at.passes, at.rows, at.height, 1), 0, 999, store.n_passes)
    ring = new_ring(columns, 1000)
    view.set_ring(ring, columns.frame, store.model)
    view.take(*ring.put(0, columns.fields))


def drag(qtbot: QtBot, view: WaterfallView, start: QPoint, stop: QPoint) -> None:
    qtbot.mousePress(view.canvas, LEFT, pos=start)
    qtbot.mouseMove(view.canvas, (start + stop) / 2)
    qtbot.mouseMove(view.canvas, stop)
    qtbot.mouseRelease(view.canvas, LEFT, pos=stop)


def wheel(view: WaterfallView, at: QPoint, notches: int, modifier: Qt.KeyboardModifier) -> None:
    event = QWheelEvent(
        QPointF(at),
        QPointF(view.canvas.mapToGlobal(at)),
        QPoint(),
        QPoint(0, 120 * notches),
        Qt.MouseButton.NoButton,
        modifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(view.canvas, event)


def test_the_newest_pass_is_at_the_right_edge_and_stays_there(view: WaterfallView, store: GrowingStore) -> None:
    assert view.viewport.right == 300
    cell = view.cell_at(QPointF(399.5, 0.5))
    assert cell is not None
    assert cell.passes == (299, 300)
    assert cell.first == cell.last == (0, 0)


def test_a_cell_has_the_value_of_its_expert_and_pass(view: WaterfallView, store: GrowingStore) -> None:
    for layer, expert, number in ((0, 0, 299), (1, 5, 250), (2, 7, 205)):
        cell = view.cell_at(view.position_of(layer, expert, number).toPointF())
        assert cell is not None
        assert (cell.first, cell.last, cell.passes) == ((layer, expert), (layer, expert), (number, number + 1))
        counts = store.counts(layer, "pass")[number]
        assert cell.ratio == pytest.approx(counts[expert] * 8 / counts.sum())


def test_dragging_looks_back_and_the_end_key_returns(qtbot: QtBot, view: WaterfallView, store: GrowingStore) -> None:
    follows: list[bool] = []
    view.follow_changed.connect(follows.append)
    picked: list[object] = []
    view.picked.connect(picked.append)
    drag(qtbot, view, QPoint(100, 100), QPoint(200, 102))
    assert view.viewport.right == pytest.approx(300 - 100 / view.viewport.per_pass)
    assert follows == [False]
    assert not picked
    where = view.viewport.right
    store.grow(0)
    view.set_extent(store.model, 310)  # more passes come: what is looked at stays
    assert view.viewport.right == where
    qtbot.keyClick(view, Qt.Key.Key_End)
    assert view.viewport.right == 310
    assert follows == [False, True]
    view.set_extent(store.model, 320)
    assert view.viewport.right == 320


def test_the_wheel_zooms_passes_scrolls_and_zooms_rows(view: WaterfallView) -> None:
    zoomed: list[bool] = []
    view.zoomed.connect(lambda: zoomed.append(True))
    before = view.viewport
    wheel(view, QPoint(200, 100), 1, Qt.KeyboardModifier.NoModifier)
    assert view.viewport.per_pass == 2 * before.per_pass
    assert view.viewport.right == 300
    assert zoomed
    wheel(view, QPoint(200, 100), 1, Qt.KeyboardModifier.ShiftModifier)
    assert view.viewport.right < 300
    assert not view.follow
    wheel(view, QPoint(200, 0), 1, Qt.KeyboardModifier.ControlModifier)
    assert view.viewport.rows == (0, 18)
    qtbot_home = view.viewport.height
    view.show_all()
    assert view.viewport.rows == (0, 24)
    assert view.viewport.left == pytest.approx(0, abs=1e-6)
    assert view.viewport.height == qtbot_home
    assert view.follow


def test_double_click_shows_a_layer_and_all_again(qtbot: QtBot, view: WaterfallView, store: GrowingStore) -> None:
    at = view.position_of(1, 3, 280)
    qtbot.mouseDClick(view.canvas, LEFT, pos=at)
    assert view.viewport.rows == (8, 16)
    fill(view, store)
    qtbot.mouseDClick(view.canvas, LEFT, pos=at)
    assert view.viewport.rows == (0, 24)


def test_clicks_and_keys_pick_and_brush(qtbot: QtBot, view: WaterfallView) -> None:
    picked: list[object] = []
    brushed: list[object] = []
    view.picked.connect(picked.append)
    view.brushed.connect(brushed.append)
    qtbot.mouseClick(view.canvas, LEFT, pos=view.position_of(1, 3, 280))
    assert (picked[-1].first, picked[-1].passes) == ((1, 3), (280, 281))  # type: ignore[attr-defined]
    view.set_marks(1, 3, 280)
    qtbot.keyClick(view, Qt.Key.Key_Right)
    assert (picked[-1].first, picked[-1].passes) == ((1, 3), (281, 282))  # type: ignore[attr-defined]
    qtbot.keyClick(view, Qt.Key.Key_Down)
    assert (picked[-1].first, picked[-1].passes) == ((1, 4), (280, 281))  # type: ignore[attr-defined]
    qtbot.keyClick(view, Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
    assert brushed[-1] == (280, 282)
    strip, ratio = view.pass_strip, view.viewport.per_pass
    start = QPoint(int(view.viewport.x(250) + ratio / 2), 5)
    qtbot.mousePress(strip, LEFT, pos=start)
    qtbot.mouseMove(strip, start + QPoint(int(10 * ratio), 0))
    qtbot.mouseRelease(strip, LEFT, pos=start)
    assert brushed[-1] == (250, 261)
    qtbot.mouseDClick(strip, LEFT, pos=start)
    assert brushed[-1] is None


def test_the_replay_cursor_stays_in_view(view: WaterfallView) -> None:
    view.set_cursor(20)
    assert view.viewport.left <= 20 < view.viewport.right
    assert not view.follow


def test_marks_and_themes_change_the_picture(view: WaterfallView) -> None:
    plain = pixels(view)
    view.set_marks(1, 3, 280)
    view.set_brush((260, 290))
    marked = pixels(view)
    assert (plain != marked).any()
    view.set_theme(DARK)
    dark = pixels(view)
    assert (dark != marked).any()
    view.set_theme(LIGHT)
    np.testing.assert_array_equal(pixels(view), marked)


def test_the_layer_of_every_pixel_row(view: WaterfallView, store: GrowingStore) -> None:
    edges = view.scene.row_edges
    for y in range(0, view.viewport.height, 7):
        row = view.scene.row_at(y)
        assert row is not None
        cell = view.cell_at(QPointF(300, y))
        assert cell is not None
        first = int(edges[row])
        assert cell.first == (first // 8, first % 8)
    assert offsets_of(store.model)[-1] == edges[-1]
