"""The Waterfall panel on a stage, as fixtures, and what a test does with it."""

from collections.abc import Iterator

import numpy as np
import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from moedesk.analysis.waterfall import read_columns
from moedesk.panels.waterfall.view import WaterfallPanel
from tests.support.growing_store import GrowingStore, growing_store
from tests.support.stage import Stage

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture(name="store")
def growing_passes() -> GrowingStore:
    return growing_store(passes=400, shown=60, layers=3, experts=8)


@pytest.fixture(name="stage")
def waterfall_stage(qtbot: QtBot, store: GrowingStore) -> Iterator[Stage]:
    with Stage(qtbot, store, WaterfallPanel) as stage:
        yield stage


def grow(stage: Stage, passes: int) -> None:
    stage.session.store.grow(passes)
    stage.session.changed.emit("store")


def shown(stage: Stage) -> dict[str, np.ndarray]:
    """What the ring holds of the columns in view."""
    view, ring = stage.panel.waterfall, stage.panel.feed.ring
    first, last = view.viewport.columns(view.scene.end)
    return {name: ring.get(name, first, last) for name in ("image", "values", "balance", "window", "passes", "read")}


def assert_all_in_view(stage: Stage) -> None:
    """The ring must hold what reading everything in view at once gives."""
    view, feed = stage.panel.waterfall, stage.panel.feed
    first, last = view.viewport.columns(view.scene.end)
    whole = read_columns(stage.session.store, feed.frame, first, last, stage.session.store.n_passes)
    for name, values in shown(stage).items():
        np.testing.assert_array_equal(values, whole.fields[name], err_msg=name)


def hover(stage: Stage, layer: int, expert: int, number: int) -> str:
    view = stage.panel.waterfall
    view.hovered.emit(view.cell_at(view.position_of(layer, expert, number).toPointF()))
    stage.settle()
    return stage.panel.readout.text()


def click(stage: Stage, layer: int, expert: int, number: int) -> None:
    view = stage.panel.waterfall
    stage.qtbot.mouseClick(view.canvas, LEFT, pos=view.position_of(layer, expert, number))
    stage.settle()
