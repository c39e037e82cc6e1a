"""The Training tab, against the store's own columns."""

import numpy as np
import pytest
from PySide6.QtCore import Qt

from moedesk.core.columns import STEP
from moedesk.core.selection import Kind, Selection
from moedesk.panels.network.model_training import READ_STEPS, read_training
from moedesk.panels.network.view import NetworkPanel
from moedesk.panels.network.view_norms import levels
from moedesk.ui.theme import DARK, DEAD, FIRST_LEVEL, MISSING
from tests.support.memory_store import MemoryStore, memory_store
from tests.support.stage import Stage

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def store() -> MemoryStore:
    """Ten steps of two passes; layer 1 is measured, in all steps but the last."""
    return trained(memory_store(passes=20, layers=3, experts=8), steps=10, parts=2)


def trained(store: MemoryStore, steps: int, parts: int) -> MemoryStore:
    rng = np.random.default_rng(0)
    store.steps = np.zeros(steps, STEP)
    store.steps["step"] = np.arange(steps) * 50
    store.steps["first_pass"], store.steps["last_pass"] = np.arange(steps) * parts, np.arange(1, steps + 1) * parts
    store.steps["loss"], store.steps["learning_rate"] = rng.random(steps), 1e-4
    store.steps["aux_loss"] = store.steps["grad_norm"] = store.steps["epoch"] = np.nan
    gradients, outputs = rng.random((2, steps, 8)).astype(np.float32)
    gradients[:, 3] = 0
    outputs[:, 3] = np.nan
    gradients[-1], outputs[-1] = np.nan, np.nan
    store.norms = {("gradients", 1): gradients, ("outputs", 1): outputs}
    store.norms["router", 1] = rng.random((steps, 1)).astype(np.float32)
    return store


def test_a_pass_leads_to_its_step(store: MemoryStore) -> None:
    for number in range(20):
        training = read_training(store, number, 1, "gradients", 100)
        assert training is not None
        row = store.steps[number // 2]
        header = dict(training.header)
        assert training.title == f"Training step {row['step']:,}"
        assert header["Passes"] == f"{row['first_pass']}–{row['last_pass'] - 1}"
        assert header["Loss"].startswith(f"{row['loss']:.6g} · ")
        assert header["Learning rate"] == "0.0001"
        assert "Auxiliary loss" not in header
        np.testing.assert_array_equal(training.values["gradients"], store.norms["gradients", 1][number // 2])
        np.testing.assert_array_equal(training.values["outputs"], store.norms["outputs", 1][number // 2])


def test_a_pass_between_steps_leads_to_the_one_before(store: MemoryStore) -> None:
    store.steps = store.steps[:5]
    training = read_training(store, 15, 1, "gradients", 100)
    assert training is not None
    assert training.title == "Training step 200, the nearest to pass 15"


def test_without_steps_there_is_nothing() -> None:
    assert read_training(memory_store(passes=3), 0, 0, "gradients", 100) is None


@pytest.mark.parametrize(("columns", "width"), [(10, 1), (7, 2), (3, 4), (1, 10)])
def test_the_picture_averages_steps_that_share_a_column(store: MemoryStore, columns: int, width: int) -> None:
    training = read_training(store, 0, 1, "gradients", columns)
    assert training is not None
    picture, whole = training.picture, store.norms["gradients", 1]
    for place, first in enumerate(range(0, 10, width)):
        some = whole[first : first + min(width, READ_STEPS)]
        some = some[np.isfinite(some).all(1)]
        expected = some.mean(0) if len(some) else np.full(8, np.nan)
        np.testing.assert_allclose(picture.values[:, place], expected, rtol=1e-6)
        assert picture.numbers[place] == store.steps["step"][first]
    assert bool(picture.reduction) == (width > 1)
    assert ("the first 8 of 10 steps" in picture.reduction) == (width == 10)


def test_colours_tell_0_unknown_small_and_large_apart(store: MemoryStore) -> None:
    training = read_training(store, 0, 1, "gradients", 100)
    assert training is not None
    found, values = levels(training.picture), training.picture.values
    assert (found[:, -1] == MISSING).all()
    assert (found[3, :-1] == DEAD).all()
    assert found[values == np.nanmax(values)].tolist() == [255]
    assert found[values == np.nanmin(values[values > 0])].tolist() == [FIRST_LEVEL]


def test_the_tab(qtbot, store: MemoryStore) -> None:
    with Stage(qtbot, store, NetworkPanel) as stage:
        tab = stage.panel.details.training
        stage.panel.details.setCurrentWidget(tab)
        stage.session.select(Selection(Kind.EXPERT, pass_id=7, layer=1, expert=5))
        stage.settle()
        assert "Training step 150" in tab.header.text()
        assert tab.table.item(5, 1).text() == f"{store.norms['gradients', 1][3, 5]:.4g}"
        assert tab.table.item(3, 2).text() == "–"
        assert tab.table.selectionModel().selectedRows()[0].row() == 5
        qtbot.mouseClick(tab.picture, LEFT, pos=tab.picture.position_of(2, 6).toPoint())
        stage.settle()
        selected = stage.session.selection
        assert (selected.layer, selected.expert, selected.pass_id) == (1, 2, 12)
        assert "Training step 300" in tab.header.text()
        qtbot.mouseMove(tab.picture, tab.picture.position_of(4, 1).toPoint())
        tab.picture.hovered.emit((4, 1))
        assert f"step 50 · expert 4 · gradient norm {store.norms['gradients', 1][1, 4]:.4g}" in tab.readout.text()
        tab.choice.setCurrentIndex(1)
        stage.settle()
        assert tab.shown.picture.quantity == "outputs"
        qtbot.mouseClick(tab.table.viewport(), LEFT, pos=tab.table.visualItemRect(tab.table.item(1, 0)).center())
        stage.settle()
        assert stage.session.selection.expert == 1
        stage.session.select(Selection(Kind.LAYER, layer=0))
        stage.settle()
        assert "backward=True" in tab.header.text()
        assert tab.picture.isHidden() or not tab.picture.isVisible()


def test_no_steps_says_what_to_do(qtbot) -> None:
    with Stage(qtbot, memory_store(passes=3), NetworkPanel, theme=DARK) as stage:
        tab = stage.panel.details.training
        stage.panel.details.setCurrentWidget(tab)
        stage.settle()
        assert "moedesk.TrainerCallback" in tab.header.text()
        assert not tab.picture.isVisible()
