"""What "Run before / after" asks in the Overrides panel, what it shows of the answer, and how it is stopped."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from moedesk.core.before_after import BeforeAfter
from moedesk.core.before_after_text import summary
from moedesk.panels.overrides.model_before_after import (
    TOKEN_COLUMNS,
    Piece,
    load_pair,
    most_moved,
    order,
    token_row,
    written,
)
from moedesk.panels.overrides.view import OverridesPanel
from moedesk.session.conversation import Outcome
from tests.support.memory_store import memory_store
from tests.support.overridden_stage import OverriddenStage

NAN = float("nan")
RESULT = BeforeAfter(
    ids=np.array([5, 6, 7, 8, 9]),
    texts=("Once", " upon", " a", " time", "\n"),
    prompt=2,
    before=np.array([NAN, -1.0, -2.0, -0.5, -0.5], np.float32),
    after=np.array([NAN, -4.0, -1.0, -0.5, -2.5], np.float32),
    written_ids=np.array([7, 11, 8]),
    written=(" a", " dark", " time"),
    counts_before=(np.array([4, 4]), np.array([6, 2]), np.array([1, 7])),
    counts_after=(np.array([4, 4]), np.array([2, 6]), np.array([0, 8])),
    overrides=("ablate expert 0 in layer 1",),
)


@pytest.fixture
def stage(qtbot: QtBot) -> Iterator[OverriddenStage]:
    with OverriddenStage(qtbot, memory_store(layers=3, experts=2, top_k=1), OverridesPanel) as stage:
        stage.panel.tabs.setCurrentWidget(stage.panel.runs)
        yield stage


def answer(stage: OverriddenStage, result: BeforeAfter = RESULT) -> None:
    value, arrays = result.to_parts()
    stage.live.tasks[-1].done(Outcome(True, "", value, arrays))


def test_tokens_that_only_one_text_has_are_marked() -> None:
    before, after = written(RESULT)
    assert before == (
        Piece("Once", "prompt"),
        Piece(" upon", "prompt"),
        Piece(" a", "same"),
        Piece(" time", "same"),
        Piece("\n", "differs"),
    )
    assert after[2:] == (Piece(" a", "same"), Piece(" dark", "differs"), Piece(" time", "same"))


def test_the_summary_has_loss_and_where_the_texts_part() -> None:
    assert "Loss 1.0000 → 2.0000 (+1.0000) nats a token, over 4 tokens" in summary(RESULT)
    assert "part at token 2 of 3" in summary(RESULT)
    same = replace(RESULT, written_ids=RESULT.ids[2:], written=RESULT.texts[2:])
    assert "both wrote the same 3 tokens" in summary(same)
    alone = BeforeAfter(np.array([5]), ("Once",), 1, np.array([NAN], np.float32), np.array([NAN], np.float32))
    assert "single token" in summary(alone)


def test_a_row_says_both_log_probabilities_and_the_change() -> None:
    assert token_row(RESULT, 1) == {
        "place": "1",
        "token": "·upon▏",
        "before": "-1.000",
        "after": "-4.000",
        "change": "-3.000",
    }
    assert token_row(RESULT, 0)["change"] == "", "the first token has no probability"
    assert token_row(RESULT, 4)["token"] == "↵"


def test_rows_are_ordered_by_any_column_and_what_is_unknown_comes_last() -> None:
    assert order(RESULT, "change", False) == [1, 4, 3, 2, 0]
    assert order(RESULT, "change", True) == [2, 3, 4, 1, 0]
    assert order(RESULT, "place", True) == [4, 3, 2, 1, 0]
    assert order(RESULT, "token", False) == sorted(range(5), key=RESULT.texts.__getitem__)


def test_load_says_how_many_slots_moved() -> None:
    pair = load_pair(RESULT, 1)
    assert pair is not None
    assert pair.moved == 0.5, "4 of 8 slots went elsewhere"
    assert pair.experts.tolist() == [1, 0], "from most gained to most lost"
    assert "before 25.00% of slots (2), after 75.00% (6), +50.00 points" in pair.hint(0)
    assert most_moved(RESULT) == 1
    assert load_pair(RESULT, 3) is None
    assert load_pair(replace(RESULT, counts_after=(np.zeros(2, np.int64),) * 3), 0) is None


def test_a_text_is_asked_for_and_its_answer_shown(stage: OverriddenStage, qtbot: QtBot) -> None:
    runs = stage.panel.runs
    runs.text.setText("Once upon")
    runs.new_tokens.setValue(3)
    qtbot.keyClick(runs.text, Qt.Key.Key_Return)
    (task,) = stage.live.tasks
    assert (task.name, task.value) == ("before_after", {"text": "Once upon", "max_new_tokens": 3, "record": False})
    assert "Waiting for the kernel" in runs.line.text()
    assert runs.cancel_button.isVisible()
    assert task.progress is not None
    task.progress(0.5, "writing with overrides")
    assert (runs.progress.value(), runs.line.text()) == (50, "writing with overrides")
    answer(stage)
    assert not runs.cancel_button.isVisible()
    assert "Loss 1.0000 → 2.0000" in runs.line.text()
    assert "ablate expert 0 in layer 1" in runs.line.text()
    assert "its passes are not recorded" in runs.line.text()
    assert [text.toPlainText() for text in runs.texts.texts] == ["Once upon a time↵\n", "Once upon a·dark time"]
    model = runs.tokens.rows
    change = TOKEN_COLUMNS.index("change")
    assert [model.index(row, change).data() for row in range(5)] == ["", "-3.000", "+1.000", "0.000", "-2.000"]
    assert runs.layer.currentIndex() == 1
    assert [runs.layer.itemText(place) for place in range(3)] == [
        "L0  0.0% of slots moved",
        "L1  50.0% of slots moved",
        "L2  12.5% of slots moved",
    ]
    assert runs.load.pair is not None
    assert runs.load.pair.slots_b.tolist() == [6, 2]
    runs.layer.setCurrentIndex(2)
    assert runs.load.pair.slots_b.tolist() == [8, 0]
    runs.record.click()
    runs.run()
    assert stage.live.tasks[-1].value["record"] is True
    answer(stage)
    assert "its passes are recorded" in runs.line.text()


def test_a_heading_sorts(stage: OverriddenStage) -> None:
    stage.panel.runs.show_result(RESULT)
    tokens = stage.panel.runs.tokens
    tokens.sortByColumn(TOKEN_COLUMNS.index("change"), Qt.SortOrder.AscendingOrder)
    assert tokens.rows.index(0, TOKEN_COLUMNS.index("token")).data() == "·upon▏"
    stage.panel.runs.show_result(replace(RESULT, after=RESULT.after[::-1].copy()))
    assert tokens.rows.index(0, TOKEN_COLUMNS.index("token")).data() == "·time", "the order stays for the next run"


def test_cancelling_keeps_what_is_shown(stage: OverriddenStage, qtbot: QtBot) -> None:
    runs = stage.panel.runs
    runs.show_result(RESULT)
    runs.run()
    runs.run()
    assert len(stage.live.tasks) == 1, "one at a time"
    runs.text.setFocus()
    qtbot.keyClick(runs.text, Qt.Key.Key_Escape)
    assert stage.live.tasks[0].cancelled
    assert runs.line.text() == "Cancelled"
    assert runs.tokens.rows.rowCount() == 5
    runs.run()
    assert len(stage.live.tasks) == 2


def test_what_goes_wrong_is_said_in_a_line(stage: OverriddenStage) -> None:
    runs = stage.panel.runs
    runs.run()
    stage.live.tasks[-1].done(Outcome(False, "no tokenizer is known: moe.attach(model, tokenizer)"))
    assert "no tokenizer is known" in runs.line.text()
    runs.run()
    stage.live.tasks[-1].done(Outcome(True, "", {"prompt": 1}, {}))
    assert "makes no sense" in runs.line.text()
    assert runs.run_button.isVisible()


def test_without_a_model_it_cannot_be_run_and_says_why(stage: OverriddenStage) -> None:
    stage.live.end("the kernel was killed")
    assert not stage.panel.runs.run_button.isEnabled()
    assert "killed" in stage.panel.runs.line.text()


def test_what_is_typed_is_kept(stage: OverriddenStage, qtbot: QtBot) -> None:
    stage.panel.runs.text.setText("def add(a, b):")
    stage.panel.runs.new_tokens.setValue(7)
    state = stage.panel.save_state()
    with OverriddenStage(qtbot, memory_store(), OverridesPanel) as other:
        other.panel.restore_state(state)
        assert other.panel.runs.text.text() == "def add(a, b):"
        assert other.panel.runs.new_tokens.value() == 7
        assert not other.panel.runs.record.isChecked()
        assert other.panel.tabs.currentIndex() == 1
        other.panel.restore_state({"tab": "x", "runs": {"text": 3, "sizes": [1], "new_tokens": None}})
        assert other.panel.runs.text.text() == "def add(a, b):"
