"""Labels in the app: in the table, on the axis, given and taken back, and filtered by; on the real sample."""

import shutil
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QInputDialog, QMenu

import moedesk
from moedesk.analysis.heatmap import Cell
from moedesk.core.filter import parse
from moedesk.core.label import Label
from moedesk.core.resources import resource
from moedesk.core.selection import Kind, Selection
from moedesk.panels.elements.view import ElementsPanel
from moedesk.panels.network.model_passes import COLUMNS, read_rows
from moedesk.panels.network.view import NetworkPanel
from moedesk.panels.waterfall.model import more_text
from moedesk.ui.label_bands import LabelBands
from moedesk.ui.theme import DARK, LIGHT
from tests.support.stage import Stage

LABEL = next(place for place, column in enumerate(COLUMNS) if column.id == "label")


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return Path(shutil.copyfile(resource("sample", "tinymoe.h5"), tmp_path / "run.h5"))


@pytest.fixture
def stage(qtbot, capture):
    with Stage(qtbot, moedesk.open(capture), NetworkPanel, path=capture) as stage:
        yield stage


def cell(stage, number: int) -> str:
    table = stage.panel.passes.table
    index = table.index(table.row_of(number), LABEL)
    stage.panel.passes.scrollTo(index)
    index.data()
    stage.settle()
    return index.data()


def answer(monkeypatch, name: str, taken: bool = True) -> list[list[str]]:
    offered: list[list[str]] = []

    def ask(parent, title, text, names, *rest):
        offered.append(names)
        return name, taken

    monkeypatch.setattr(QInputDialog, "getItem", ask)
    return offered


def choose(stage, selection: Selection, begins: str) -> None:
    menu = QMenu()
    stage.panel.fill_menu(menu, selection)
    next(action for action in menu.actions() if action.text().startswith(begins)).trigger()
    stage.settle()
    menu.deleteLater()


def test_the_table_and_the_axis_show_the_labels(stage) -> None:
    assert [cell(stage, number) for number in (0, 9, 10, 70, 128)] == ["c", "c", "english", "python", ""]
    assert stage.panel.overview.label_legend.names == stage.panel.overview.labels.names
    assert stage.panel.overview.labels.names[:2] == ("c", "english")
    assert stage.panel.overview.label_legend.isVisible()
    heatmap = stage.panel.overview.heatmap
    heatmap.hovered.emit(heatmap.cell_at(heatmap.position_of(0, 0, 70)))
    assert "pass 70 (python)" in stage.panel.overview.readout.text()


def test_labelling_a_pass_and_taking_it_back(stage, capture, monkeypatch) -> None:
    offered = answer(monkeypatch, " new one ")
    choose(stage, Selection(Kind.PASS, pass_id=100), "Label pass 100 as")
    assert offered[0][0] == "c"
    assert cell(stage, 100) == "new one"
    assert stage.shell.said[-1] == "Labelled pass 100 as new one"
    with moedesk.open(capture) as other:
        assert other.labels[-1] == Label("new one", 100, 101)
    choose(stage, Selection(Kind.PASS, pass_id=100), "Undo labelling")
    assert cell(stage, 100) == ""
    assert not stage.session.labelling.can_undo
    assert not capture.with_name("run.h5.labels.json").exists()


def test_labelling_what_is_brushed_and_what_is_selected(stage, monkeypatch) -> None:
    answer(monkeypatch, "part")
    stage.session.brush((90, 100))
    stage.settle()
    choose(stage, Selection(Kind.PASS, pass_id=95), "Label passes 90–99 (brushed) as")
    stage.session.brush(None)
    stage.settle()
    view = stage.panel.passes
    for number, modifier in ((110, Qt.KeyboardModifier.NoModifier), (113, Qt.KeyboardModifier.ShiftModifier)):
        index = view.table.index(view.table.row_of(number), 1)
        view.scrollTo(index)
        stage.qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, modifier, view.visualRect(index).center())
        stage.settle()
    assert view.selected_spans == [(110, 114)]
    choose(stage, Selection(Kind.PASS, pass_id=112), "Label passes 110–113 as")
    assert stage.session.store.labels[-2:] == (Label("part", 90, 100), Label("part", 110, 114))


def test_some_tokens(stage, monkeypatch) -> None:
    answer(monkeypatch, "first")
    choose(stage, Selection(Kind.TOKEN, pass_id=0, layer=0, token=3), "Label token row 3 as")
    assert stage.session.store.labels[-1] == Label("first", 3, 4, "main")
    assert cell(stage, 0) == "c, first (some tokens)"


@pytest.mark.parametrize(("name", "taken"), [("x", False), ("", True), ("y" * 70, True)])
def test_no_name_no_label(stage, capture, monkeypatch, name: str, taken: bool) -> None:
    answer(monkeypatch, name, taken)
    choose(stage, Selection(Kind.PASS, pass_id=3), "Label pass 3 as")
    assert not capture.with_name("run.h5.labels.json").exists()


def test_a_folder_that_takes_no_labels_is_said(stage, capture, monkeypatch) -> None:
    capture.with_name("run.h5.labels.json.writing").mkdir()
    answer(monkeypatch, "x")
    choose(stage, Selection(Kind.PASS, pass_id=3), "Label pass 3 as")
    assert "can't be written" in stage.shell.said[-1]
    assert cell(stage, 3) == "c"


def test_a_filter_by_label(stage, monkeypatch) -> None:
    stage.session.set_filter(parse("label:python"))
    stage.settle()
    assert list(stage.panel.passes.table.numbers) == list(range(68, 80))
    answer(monkeypatch, "python")
    choose(stage, Selection(Kind.PASS, pass_id=128), "Label pass 128 as")
    assert list(stage.panel.passes.table.numbers) == [*range(68, 80), 128]


def test_an_experts_load_by_label(qtbot, capture) -> None:
    with Stage(qtbot, moedesk.open(capture), ElementsPanel, path=capture) as stage:
        stage.session.select(Selection(Kind.EXPERT, layer=1, expert=4))
        stage.settle()
        facts, store = stage.panel.details.expert.labels.facts, stage.session.store
        shares = {}
        for label in store.labels:
            rows = store.token_span(label.first, label.last)
            shares[label.name] = (store.experts(1, *rows) == 4).any(1).mean()
        assert [fact.label for fact in facts] == sorted(shares, key=lambda name: -shares[name])
        assert f"{100 * shares['spanish']:.1f} %" in facts[0].value
        stage.session.brush((80, 85))
        stage.settle()
        assert [fact.label for fact in stage.panel.details.expert.labels.facts] == ["spanish"]
        stage.session.labelling.remove("spanish", stage.shell.say)
        stage.settle()
        assert not stage.panel.details.expert.labels_title.isVisible()


def test_the_waterfall_says_the_label_of_what_is_pointed_at(capture) -> None:
    with moedesk.open(capture) as opened:
        cell = Cell((0, 0), (0, 0), (70, 71), 1.0)
        assert more_text(opened, cell).endswith("slots · labelled python")
        assert "labelled" not in more_text(opened, Cell((0, 0), (0, 0), (100, 101), 1.0))


def test_every_row_against_the_labels(capture) -> None:
    with moedesk.open(capture) as opened:
        texts = read_rows(opened, range(opened.n_passes), "header").labels
        for number, text in enumerate(texts):
            named = [label.name for label in opened.labels if label.first <= number < label.last]
            assert text == ", ".join(named)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_bands_are_drawn_where_the_labels_are(qtbot, theme) -> None:
    from PySide6.QtGui import QImage, QPainter

    from moedesk.analysis.pass_labels import PassLabel, PassLabels
    from moedesk.ui.label_bands import label_color

    bands = LabelBands()
    bands.set_labels(PassLabels((PassLabel("a", 0, 10), PassLabel("b", 10, 20), PassLabel("a", 40, 50))))
    image = QImage(100, 20, QImage.Format.Format_RGB32)
    image.fill(theme.color("surface"))
    painter = QPainter(image)
    bands.paint(painter, theme, (0.0, 50.0), 100.0, 2.0)
    painter.end()
    at = {x: image.pixelColor(QPoint(x, 4)) for x in (5, 25, 60, 90)}
    assert (at[5], at[25], at[90]) == (label_color(theme, 0), label_color(theme, 1), label_color(theme, 0))
    assert at[60] == theme.color("surface")


def test_labels_that_overlap_lie_in_lanes() -> None:
    from moedesk.analysis.pass_labels import PassLabel, PassLabels

    bands = LabelBands()
    bands.set_labels(PassLabels(tuple(PassLabel(name, 0, 9) for name in "abcde")))
    assert bands.lanes == 3
