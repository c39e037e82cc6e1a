"""The console without a window: waiting messages, live expressions, what bar and menu say."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moedesk.core.errors import MoedeskError
from moedesk.link.interpreter import Interpreter
from moedesk.link.protocol import PROTOCOL
from moedesk.panels.console import model_messages
from moedesk.panels.console.model_choice import choice, connection_request, remembered
from moedesk.panels.console.model_live import LiveExpression, LiveExpressions
from moedesk.panels.console.model_messages import ENTRIES, LINE_LENGTH, LINES, LineClip, MessageQueue, clip
from moedesk.panels.console.model_state import banner, bar
from moedesk.session.kernel import Answer, KernelState


def message(kind: str, cell: str = "cell 1", session: str = "ours", **content: Any) -> dict[str, Any]:
    header = {"msg_type": kind}
    return {
        "header": header,
        "msg_type": kind,
        "parent_header": {"msg_id": cell, "session": session},
        "content": content,
    }


def stream(text: str, cell: str = "cell 1", name: str = "stdout") -> dict[str, Any]:
    return message("stream", cell, name=name, text=text)


def idle(cell: str = "cell 1") -> dict[str, Any]:
    return message("status", cell, execution_state="idle")


class Queue(MessageQueue):
    """A queue that counts how often it wakes the window."""

    def __init__(self) -> None:
        self.wakes = 0
        super().__init__(self._count)

    def _count(self) -> None:
        self.wakes += 1

    def everything(self, lines: int = 100) -> list[tuple[str, dict[str, Any]]]:
        taken = []
        while part := self.take(lines):
            taken += part
        return taken

    def text(self, lines: int = 100) -> str:
        return "".join(m["content"]["text"] for _, m in self.everything(lines) if m["header"]["msg_type"] == "stream")


def test_texts_become_one_and_wake_the_window_once() -> None:
    queue = Queue()
    for number in range(1000):
        queue.put("iopub", stream(f"{number}\n"))
    assert queue.wakes == 1
    assert len(queue) == 1
    taken = queue.everything()
    assert len(taken) == 10  # portions of 100 lines
    assert "".join(m["content"]["text"] for _, m in taken) == "".join(f"{number}\n" for number in range(1000))
    queue.put("iopub", stream("more\n"))
    assert queue.wakes == 2


@given(
    st.lists(st.tuples(st.text("ab\n\r", max_size=20), st.sampled_from(["stdout", "stderr"])), max_size=30),
    st.integers(1, 5),
)
def test_nothing_is_lost_or_reordered_below_the_limit(texts: list[tuple[str, str]], portion: int) -> None:
    queue = Queue()
    for text, name in texts:
        queue.put("iopub", stream(text, name=name))
    assert queue.text(portion) == "".join(text for text, _ in texts)
    assert queue.settled


def test_streams_and_cells_stay_apart() -> None:
    queue = Queue()
    queue.put("iopub", stream("a\n"))
    queue.put("iopub", stream("b\n", name="stderr"))
    queue.put("iopub", stream("c\n", cell="cell 2"))
    assert [m["content"]["text"] for _, m in queue.everything()] == ["a\n", "b\n", "c\n"]


def test_lines_that_are_too_many_are_counted() -> None:
    queue = Queue()
    for number in range(LINES + 2345):
        queue.put("iopub", stream(f"{number}\n"))
    lines = queue.text().splitlines()
    assert "2,345 lines left out" in lines[0]
    assert lines[1] == "2345"
    assert len(lines) == LINES + 1


def test_outputs_that_are_too_many_are_counted_but_replies_stay() -> None:
    queue = Queue()
    queue.put("shell", message("complete_reply"))
    for number in range(ENTRIES + 10):
        queue.put("iopub", message("display_data", number=number))
    taken = queue.everything()
    assert "11 outputs left out" in taken[0][1]["content"]["text"]
    assert taken[1][0] == "shell"
    assert taken[-1][1]["content"]["number"] == ENTRIES + 9


def test_a_reply_waits_for_the_last_output_of_its_cell() -> None:
    queue = Queue()
    queue.put("shell", message("execute_reply", "cell 1"))
    assert queue.wakes == 1  # it may have to be let go
    assert queue.take(100) == []
    queue.put("iopub", stream("last\n"))
    queue.put("iopub", idle("cell 1"))
    kinds = [m["header"]["msg_type"] for _, m in queue.everything()]
    assert kinds == ["stream", "status", "execute_reply"]
    queue.put("iopub", idle("cell 2"))
    queue.put("shell", message("execute_reply", "cell 2"))
    assert [m["header"]["msg_type"] for _, m in queue.everything()] == ["status", "execute_reply"]


def test_a_reply_comes_although_the_end_of_its_output_got_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(model_messages.time, "monotonic", lambda: now[0])
    queue = Queue()
    queue.put("shell", message("execute_reply"))
    now[0] += 0.9
    assert queue.take(100) == []
    queue.put("iopub", stream("still coming\n"))
    now[0] += 0.4
    assert [m["header"]["msg_type"] for _, m in queue.everything()] == ["stream"]
    assert not queue.settled
    now[0] += 0.4
    assert [m["header"]["msg_type"] for _, m in queue.everything()] == ["execute_reply"]
    assert queue.settled


def test_what_other_clients_run_is_left_to_them() -> None:
    queue = Queue()
    queue.session = "ours"
    queue.put("iopub", message("stream", session="theirs", name="stdout", text="x\n"))
    queue.put("iopub", message("status", session="theirs", execution_state="busy"))
    queue.put("iopub", stream("y\n"))
    assert [m["header"]["msg_type"] for _, m in queue.everything()] == ["status", "stream"]


def test_shorten_keeps_the_last_lines() -> None:
    queue = Queue()
    queue.put("iopub", stream("".join(f"{number}\n" for number in range(100))))
    queue.shorten(3)
    assert queue.text().splitlines()[1:] == ["97", "98", "99"]


@given(st.lists(st.text("ab\n", max_size=30), max_size=20))
def test_short_lines_pass_the_clip_unchanged(pieces: list[str]) -> None:
    line_clip = LineClip()
    assert "".join(line_clip.feed(piece) for piece in pieces) == "".join(pieces)


def test_a_long_line_in_pieces_is_cut_and_counted() -> None:
    line_clip = LineClip()
    text = "".join(line_clip.feed("x" * 100) for _ in range(1000)) + line_clip.feed("\nnext\n")
    first, following = text.splitlines()
    assert first.startswith("x" * LINE_LENGTH)
    assert first.endswith(f"… {100_000 - LINE_LENGTH:,} characters left out")
    assert following == "next"


def test_a_result_is_cut_and_says_so() -> None:
    assert clip("short") == "short"
    assert clip("y" * (LINE_LENGTH + 5)).endswith("5 characters left out")
    lines = clip("z\n" * (LINES + 7)).splitlines()
    assert lines[0] == "… 7 lines left out"
    assert len(lines) == LINES + 1


def test_an_expression_has_one_question_under_way() -> None:
    live = LiveExpressions()
    live.rows = [LiveExpression("a"), LiveExpression(" "), LiveExpression("b")]
    first = live.due(0.0)
    assert [text for _, text in first] == ["a", "b"]
    assert live.due(0.3) == []
    row = live.take(Answer(first[0][0], "1", True))
    assert row is live.rows[0]
    assert row.value == "1"
    assert [text for _, text in live.due(0.6)] == ["a"]
    assert live.rows[2].is_late(1.5)
    assert [text for _, text in live.due(11.0)] == ["a", "b"]  # asked again after ten seconds


def test_an_answer_to_an_older_text_does_not_count() -> None:
    live = LiveExpressions()
    live.rows = [LiveExpression("a")]
    ((request, _),) = live.due(0.0)
    live.set_text(live.rows[0], "b")
    assert live.take(Answer(request, "old", True)) is None
    assert live.rows[0].value == ""
    ((request, _),) = live.due(0.1)
    live.forget()
    assert live.take(Answer(request, "old", True)) is None


def kernel(state: KernelState, said: str = "", detail: tuple[str, ...] = (), own: bool = True) -> Any:
    return SimpleNamespace(state=state, said=said, detail=detail, own=own, stopped=False)


def test_the_bar_tells_state_by_more_than_colour() -> None:
    signs = {(bar(kernel(state), busy=False).text, bar(kernel(state), busy=False).icon) for state in KernelState}
    assert len({text for text, _ in signs}) == len(KernelState)
    busy = bar(kernel(KernelState.READY), busy=True)
    assert (busy.text, busy.can_interrupt) == ("Busy", True)
    assert not bar(kernel(KernelState.ENDED), busy=False).can_interrupt
    assert bar(kernel(KernelState.READY, own=False), busy=False).restart_text == "Reconnect"


def test_the_banner_offers_what_helps() -> None:
    assert banner(kernel(KernelState.READY)) is None
    assert banner(kernel(KernelState.STARTING, "The kernel is starting")) is None
    silent = banner(kernel(KernelState.SILENT, "No answer"))
    assert silent is not None
    assert (silent.restart, silent.stacks, silent.kind) == (True, True, "warning")
    ended = banner(kernel(KernelState.ENDED, "Killed", ("line",)))
    assert ended is not None
    assert (ended.restart, ended.stacks, ended.kind, ended.detail) == (True, False, "error", ("line",))
    foreign = banner(kernel(KernelState.SILENT, "No answer", own=False))
    assert foreign is not None
    assert not foreign.stacks


def test_the_menu_names_versions_and_what_is_missing() -> None:
    assert choice("/p", None).text == "/p  (looking…)"
    good = Interpreter("/p", "3.11.7", "7.0", "0.1.0", "2.6", protocol=PROTOCOL)
    assert choice("/p", good).text == "/p  (Python 3.11.7, moedesk 0.1.0)"
    bare = choice("/p", Interpreter("/p", "3.11.7"))
    assert bare.text.startswith("⚠")
    assert "/p -m pip install ipykernel" in bare.hint
    assert not bare.possible


def test_interpreters_are_remembered_once_the_latest_first() -> None:
    assert remembered(["a", "b", "c", "d", "e"], "c") == ["c", "a", "b", "d", "e"]
    assert remembered(["a", "b", "c", "d", "e"], "f") == ["f", "a", "b", "c", "d"]


def test_a_connection_asks_for_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "kernel-1.json"
    file.touch()
    assert connection_request(f" {file} ", "") == (file, "")
    assert connection_request("~/kernel.json", "me@host") == (Path("~/kernel.json"), "me@host")  # its home, not ours
    for name, says in (("", "Which connection file"), (str(tmp_path / "none"), "give the ssh host")):
        with pytest.raises(MoedeskError, match=says):
            connection_request(name, "")
