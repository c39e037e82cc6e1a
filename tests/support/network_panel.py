"""What a test does with the Network panel on a stage, by mouse and keyboard."""

from PySide6.QtCore import Qt

from moedesk.panels.network.model_passes import COLUMNS
from tests.support.stage import Stage

LEFT = Qt.MouseButton.LeftButton
SHOWN = {column.id: place for place, column in enumerate(COLUMNS)}


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
