"""Choosing another definition of balance: each panel shows it, by name, with the numbers that go with it."""

import numpy as np
import pytest
from PySide6.QtCore import Qt

from moedesk.analysis.conventions import Conventions
from moedesk.analysis.load import METRICS, layer_load
from moedesk.core.selection import Kind, Selection
from moedesk.panels.elements.view import ElementsPanel
from moedesk.panels.network.model_passes import COLUMNS
from moedesk.panels.network.view import NetworkPanel
from moedesk.panels.waterfall.view import WaterfallPanel
from tests.support.memory_store import memory_store
from tests.support.stage import Stage

CHOSEN = Conventions(cv="cv_sample", maxvio="load_imbalance", entropy_normalized="expert_diversity")
MAXVIO = next(place for place, column in enumerate(COLUMNS) if column.id == "max_violation")


@pytest.fixture
def store():
    return memory_store(passes=12, layers=3, experts=8)


def test_network(qtbot, store) -> None:
    with Stage(qtbot, store, NetworkPanel) as stage:
        table, numbers = stage.panel.passes.table, stage.panel.details.numbers
        stage.panel.details.setCurrentWidget(numbers)
        stage.session.select(Selection(Kind.PASS, pass_id=3))
        stage.settle()
        stage.session.choose_conventions(CHOSEN)
        stage.settle()
        assert table.headerData(MAXVIO, Qt.Orientation.Horizontal) == "Load imbalance"
        index = table.index(3, MAXVIO)
        index.data()
        stage.settle()
        loads = [load.counts for load in layer_load(store, 3, 4)]
        assert index.data() == f"{np.mean([counts.max() / counts.mean() for counts in loads]):.2f}"
        assert [numbers.table.horizontalHeaderItem(place).text() for place in (3, 4, 5)] == [
            "Load imbalance", "CV (sample)", "Expert diversity",
        ]  # fmt: skip
        assert numbers.table.item(1, 4).text() == f"{METRICS['cv_sample'].of(loads[1]):.3f}"


def test_elements(qtbot, store) -> None:
    with Stage(qtbot, store, ElementsPanel) as stage:
        stage.session.select(Selection(Kind.LAYER, layer=1))
        stage.settle()
        stage.session.choose_conventions(CHOSEN)
        stage.settle()
        values = {fact.label: fact.value for fact in stage.panel.details.load.tiles.facts}
        assert values["CV (sample)"] == f"{METRICS['cv_sample'].of(store.counts(1)):.3f}"


def test_waterfall(qtbot, store) -> None:
    with Stage(qtbot, store, WaterfallPanel) as stage:
        stage.session.choose_conventions(CHOSEN)
        stage.settle()
        panel = stage.panel
        assert panel.feed.frame.conventions == CHOSEN
        assert panel.controls.metrics.itemText(panel.controls.metrics.findData("cv")) == "CV (sample)"
        counts = layer_load(store, 0, 12)[0].counts  # the window of the last column holds them all
        assert panel.feed.ring.get("window", 11, 12)[0] == 12
        assert panel.feed.ring.get("balance", 11, 12)[0, 0, 0] == pytest.approx(
            METRICS["cv_sample"].of(counts), rel=1e-5
        )
