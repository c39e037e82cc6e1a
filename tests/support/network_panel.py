"""The Network panel on a stage, as fixtures, and what a test does with it by mouse and keyboard."""

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from moedesk.panels.network.model_passes import COLUMNS
from moedesk.panels.network.view import NetworkPanel
from tests.support.memory_store import MemoryStore, memory_store
from tests.support.stage import Stage

LEFT = Qt.MouseButton.LeftButton
SHOWN = {column.id: place for place, column in enumerate(COLUMNS)}


@pytest.fixture(name="store")
def twenty_passes() -> MemoryStore:
    return memory_store(passes=20, layers=3, experts=8)


@pytest.fixture(name="stage")
def network_stage(qtbot: QtBot, store: MemoryStore) -> Iterator[Stage]:
    with Stage(qtbot, store, NetworkPanel) as stage:
        yield stage


def cell(stage: Stage, number: int, column: str) -> str:
    """What the table says of a pass."""
    table = stage.panel.passes.table
    index = table.index(table.row_of(number), SHOWN[column])
    stage.panel.passes.scrollTo(index)
    index.data()
    stage.settle()
    return index.data()


def click_heatmap(stage: Stage, layer: int, expert: int, number: int) -> None:
    heatmap = stage.panel.overview.heatmap
    stage.qtbot.mouseClick(heatmap.viewport(), LEFT, pos=heatmap.position_of(layer, expert, number))
    stage.settle()


def click_row(stage: Stage, number: int) -> None:
    view = stage.panel.passes
    index = view.table.index(view.table.row_of(number), 1)
    view.scrollTo(index)
    stage.qtbot.mouseClick(view.viewport(), LEFT, pos=view.visualRect(index).center())
    stage.settle()


def click_token(stage: Stage, row: int) -> None:
    text = stage.panel.details.tokens.text
    stage.qtbot.mouseClick(text.viewport(), LEFT, pos=text.rect_of(row).center().toPoint())
    stage.settle()


def type_filter(stage: Stage, text: str) -> None:
    edit = stage.panel.filter_bar.edit
    edit.selectAll()
    stage.qtbot.keyClicks(edit, text)
    edit.popup.hide()
    stage.settle()
