"""What a test does with the Waterfall panel on a stage, and a live session as far as it needs one."""

import numpy as np
from PySide6.QtCore import Qt

from moedesk.analysis.waterfall import read_columns
from tests.support.stage import Stage

LEFT = Qt.MouseButton.LeftButton


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
