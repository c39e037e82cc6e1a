import pytest
from PySide6.QtCore import Qt

from moedesk.core.filter import parse
from moedesk.ui.filter_bar import FilterBar
from moedesk.ui.theme import DARK
from tests.support.memory_store import memory_store


@pytest.fixture
def bar(qtbot):
    widget = FilterBar()
    widget.set_model(memory_store(layers=3, experts=8).model)
    widget.set_token_texts(["the", " def", "\n"])
    qtbot.addWidget(widget)
    widget.resize(700, 60)
    widget.show()
    widget.edit.setFocus()
    return widget


def type_in(qtbot, bar, text):
    qtbot.keyClicks(bar.edit, text)


def test_a_valid_filter_is_announced(qtbot, bar):
    changed = []
    bar.filter_changed.connect(changed.append)
    type_in(qtbot, bar, "layer:2 expert:7")
    assert changed[-1] == parse("layer:2 expert:7")
    assert bar.error is None
    assert not bar.message.isVisible()


def test_blanks_change_nothing(qtbot, bar):
    type_in(qtbot, bar, "layer:2")
    changed = []
    bar.filter_changed.connect(changed.append)
    type_in(qtbot, bar, "  ")
    assert changed == []


def test_an_error_is_shown_in_place_and_the_last_filter_stays(qtbot, bar):
    type_in(qtbot, bar, "layer:2")
    clean = bar.edit.grab().toImage()
    changed = []
    bar.filter_changed.connect(changed.append)
    type_in(qtbot, bar, " entropy>abc")
    assert bar.filter == parse("layer:2")
    assert changed == []
    assert bar.error is not None
    assert bar.edit.text()[bar.error.start : bar.error.end] == "abc"
    assert bar.message.isVisible()
    assert "layer:2" in bar.message.text()
    assert bar.edit.grab().toImage() != clean
    for _ in range(len(" entropy>abc")):
        qtbot.keyClick(bar.edit, Qt.Key.Key_Backspace)
    assert bar.error is None
    assert not bar.message.isVisible()


def test_a_word_that_may_become_a_key_waits(qtbot, bar):
    changed = []
    bar.filter_changed.connect(changed.append)
    type_in(qtbot, bar, "ent")
    assert changed == []
    bar.edit.popup.hide()
    qtbot.keyClick(bar.edit, Qt.Key.Key_Return)
    assert changed == [parse("ent")]
    type_in(qtbot, bar, "x")
    qtbot.waitUntil(lambda: changed == [parse("ent"), parse("entx")])


def test_a_mistyped_key_does_not_become_a_search_on_the_way(qtbot, bar):
    type_in(qtbot, bar, "layer:2 layr:7")
    assert bar.filter == parse("layer:2 ") or bar.filter == parse("layer:2")
    assert "did you mean layer" in bar.message.text()


def test_layers_and_experts_that_do_not_exist_are_errors(qtbot, bar):
    type_in(qtbot, bar, "expert:8")
    assert bar.error is not None
    qtbot.keyClick(bar.edit, Qt.Key.Key_Backspace)
    type_in(qtbot, bar, "7")
    assert bar.error is None


def test_keys_are_completed_by_keyboard(qtbot, bar):
    type_in(qtbot, bar, "ent")
    assert bar.edit.popup.isVisible()
    qtbot.keyClick(bar.edit.popup, Qt.Key.Key_Down)
    qtbot.keyClick(bar.edit.popup, Qt.Key.Key_Return)
    assert bar.edit.text() == "entropy>"


def test_layers_are_offered(qtbot, bar):
    type_in(qtbot, bar, "-layer:")
    assert [completion.text for completion in bar.edit.completions] == ["0", "1", "2"]
    qtbot.keyClick(bar.edit.popup, Qt.Key.Key_Down)
    qtbot.keyClick(bar.edit.popup, Qt.Key.Key_Down)
    qtbot.keyClick(bar.edit.popup, Qt.Key.Key_Return)
    assert bar.edit.text() == "-layer:1"
    assert bar.filter == parse("-layer:1")


def test_token_texts_are_offered(qtbot, bar):
    type_in(qtbot, bar, "token:d")
    assert [completion.text for completion in bar.edit.completions] == ['" def"']


def test_a_finished_word_is_not_offered_again(qtbot, bar):
    type_in(qtbot, bar, "phase:decode")
    assert bar.edit.completions == ()
    assert not bar.edit.popup.isVisible()


def test_history(qtbot, bar):
    for text in ("layer:1", "expert:3"):
        bar.edit.selectAll()
        type_in(qtbot, bar, text)
        qtbot.keyClick(bar.edit, Qt.Key.Key_Return)
    bar.edit.selectAll()
    type_in(qtbot, bar, "phase:")
    bar.edit.popup.hide()
    shown = []
    for key in (Qt.Key.Key_Up, Qt.Key.Key_Up, Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Down):
        qtbot.keyClick(bar.edit, key)
        shown.append(bar.edit.text())
    assert shown == ["expert:3", "layer:1", "layer:1", "expert:3", "phase:"]


def test_escape_and_the_button_clear(qtbot, bar):
    for clear in (lambda: qtbot.keyClick(bar.edit, Qt.Key.Key_Escape), bar.clear_button.click):
        type_in(qtbot, bar, "layer:1")
        bar.edit.popup.hide()
        assert bar.clear_button.isVisible()
        clear()
        assert not bar.filter
        assert bar.edit.text() == ""
        assert not bar.clear_button.isVisible()


def test_counts_and_progress(bar):
    bar.set_progress(0.25)
    assert bar.progress.isVisible()
    assert "25%" in bar.counts.text()
    bar.set_matches(37, 1204, 512, 96000)
    assert bar.counts.text() == "37 of 1,204 passes · 512 of 96,000 events match"
    assert not bar.progress.isVisible()
    bar.set_matches(1, 2, 3, 4, "2 passes kept counts only")
    assert "2 passes kept counts only" in bar.counts.toolTip()


def test_a_filter_from_elsewhere_is_shown_and_not_announced(bar):
    changed = []
    bar.filter_changed.connect(changed.append)
    bar.set_filter(parse("layer:1"))
    assert bar.edit.text() == "layer:1"
    assert changed == []
    bar.set_theme(DARK)
    bar.grab()
