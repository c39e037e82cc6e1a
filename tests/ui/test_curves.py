"""Curves of balance: where lines lie, what is pointed at, which bounds."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QPointF
from PySide6.QtGui import QImage
from pytestqt.qtbot import QtBot

from moedesk.analysis.ring import ColumnRing
from moedesk.ui.curves import CurvesView
from moedesk.ui.curves_plot import Curve
from moedesk.ui.curves_scale import bounds, nice_step, ticks
from moedesk.ui.theme import LIGHT
from moedesk.ui.waterfall_axes import LEFT_WIDTH
from moedesk.ui.waterfall_scene import Scene
from moedesk.ui.waterfall_viewport import Viewport

CV, ENTROPY = Curve(0, "CV", (0.0, None)), Curve(2, "Entropy", (None, 1.0), False)


def scene_of(balance: np.ndarray, per_pass: float = 4.0) -> Scene:
    """A scene over a ring with these (3, L, N) values."""
    layers, count = balance.shape[1:]
    ring = ColumnRing(
        count + 7,
        {"balance": ((3, layers), np.float32), "band": ((3, 3), np.float32), "window": ((), np.int64)},
    )
    with np.errstate(all="ignore"):
        band = np.stack([np.nanmin(balance, 1), np.nanmedian(balance, 1), np.nanmax(balance, 1)], 1)
    ring.put(0, {"balance": balance, "band": band, "window": np.full(count, 5)})
    return Scene(Viewport(count, per_pass, (0, 1), int(count * per_pass), 100), ring, end=count)


@pytest.fixture
def view(qtbot: QtBot) -> Iterator[CurvesView]:
    rng = np.random.default_rng(0)
    balance = rng.random((3, 3, 100)).astype(np.float32)
    balance[:, 1, 40:50] = np.nan
    view = CurvesView(scene_of(balance))
    view.resize(LEFT_WIDTH + 8 + 400, 300)
    view.show_curves([CV, ENTROPY])
    yield view
    view.deleteLater()


def colours_at(view: CurvesView, x: float, y: float) -> set[str]:
    """The colours of the pixels around a point."""
    image = view.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    return {image.pixelColor(int(x) + dx, int(y) + dy).name() for dx in (-1, 0, 1) for dy in (-1, 0, 1)}


def test_a_line_goes_through_its_values(view: CurvesView) -> None:
    ring = view._scene.ring
    assert ring is not None
    for plot in view.plots():
        curve, area = plot.curve, plot.area
        values = ring["balance"][curve.place, :, :100]
        low, high = bounds(values, curve.fixed)
        for layer, column in ((0, 0), (1, 10), (2, 61)):
            x = LEFT_WIDTH + (column + 0.5) * 4
            y = area.bottom() - (values[layer, column] - low) / (high - low) * area.height()
            assert LIGHT.expert_color(layer).name() in colours_at(view, x, y)


def test_pointing_reads_the_nearest_layer(view: CurvesView) -> None:
    ring = view._scene.ring
    assert ring is not None
    curve, area = view.plots()[1].curve, view.plots()[1].area
    values = ring["balance"][2, :, 61]
    low, high = bounds(ring["band"][2, :, :100], curve.fixed)
    y = area.bottom() - (values[2] - low) / (high - low) * area.height()
    point = view.point_at(QPointF(LEFT_WIDTH + 61.5 * 4, y))
    assert point is not None
    assert (point.curve, point.passes, point.layer, point.window) == (ENTROPY, (61, 62), 2, 5)
    np.testing.assert_array_equal(point.values, values)
    gap = view.point_at(QPointF(LEFT_WIDTH + 45.5 * 4, y))
    assert gap is not None
    assert gap.layer != 1
    assert view.point_at(QPointF(10, y)) is None


def test_many_layers_make_a_band_with_the_worst_and_the_selected_one(qtbot: QtBot) -> None:
    balance = np.linspace(0.2, 0.6, 40)[None, :, None] * np.ones((3, 1, 50))
    scene = scene_of(balance.astype(np.float32))
    scene.marked = (3, None)
    view = CurvesView(scene)
    view.resize(LEFT_WIDTH + 8 + 200, 150)
    view.show_curves([CV])
    area = view.plots()[0].area
    low, high = bounds(balance.astype(np.float32), CV.fixed)

    def at(value: float) -> set[str]:
        return colours_at(view, LEFT_WIDTH + 100, area.bottom() - (value - low) / (high - low) * area.height())

    assert LIGHT.error in at(0.6)
    assert LIGHT.text in at(float(balance[0, 3, 0]))
    assert LIGHT.muted in at(0.4)
    assert at(0.5) == at(0.45)  # within the band
    assert at(0.5) != at(0.05)  # outside
    assert "least even: L39 0.60" in view.plots()[0].title
    view.deleteLater()


def test_a_plot_without_room_is_said(view: CurvesView) -> None:
    view.resize(400, 50)
    assert view.hidden == 1
    assert len(view.plots()) == 1
    view.grab()


def test_nothing_to_draw_is_no_error(qtbot: QtBot) -> None:
    view = CurvesView(Scene())
    view.resize(300, 200)
    view.show_curves([CV, ENTROPY])
    view.grab()
    assert view.point_at(QPointF(150, 50)) is None
    empty = np.full((3, 2, 10), np.nan, np.float32)
    unknown = CurvesView(scene_of(np.nan_to_num(empty)))
    unknown.show_curves([CV])
    unknown.grab()
    for made in (view, unknown):
        made.deleteLater()


@given(st.lists(st.floats(0, 1e4), min_size=1), st.sampled_from([(0.0, None), (None, 1e4), (None, None)]))
def test_bounds_hold_all_values_and_ticks_lie_within(
    values: list[float], fixed: tuple[float | None, float | None]
) -> None:
    low, high = bounds(np.array(values), fixed)
    slack = 1e-6 * max(abs(low), abs(high), 1)
    assert low - slack <= min(values)
    assert max(values) <= high + slack
    found = ticks(low, high, 5)
    assert 1 <= len(found) <= 6
    assert all(low - slack <= tick <= high + slack for tick in found)


@pytest.mark.parametrize(
    ("span", "lines", "step"), [(1, 5, 0.2), (1, 4, 0.5), (0.9, 3, 0.5), (37, 4, 10), (1e-12, 4, 5e-10)]
)
def test_steps_are_round(span: float, lines: int, step: float) -> None:
    assert nice_step(span, lines) == pytest.approx(step)
