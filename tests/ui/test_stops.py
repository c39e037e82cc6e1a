"""A model that stands at a breakpoint, in the window: banner, keys, menu, status bar."""

from collections.abc import Mapping
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QMenu
from pytestqt.qtbot import QtBot

from moedesk.core.selection import Kind, Selection
from moedesk.session.breakpoints import breakpoints_of
from moedesk.session.settings import Settings
from moedesk.session.stop import stop_of
from moedesk.ui import break_menu
from moedesk.ui.break_menu import add_break_actions
from moedesk.ui.open_files import read_capture
from moedesk.ui.opengl import Renderer
from moedesk.ui.window import Window
from tests.support.fake_feed import FakeFeed
from tests.support.panels import SPECS

STOP = {
    "why": "layer:2 expert:5",
    "breakpoint": 1,
    "layer": 2,
    "expert": 5,
    "token": {"sequence": 0, "position": 4, "column": 4, "text": " def", "id": 3, "row": 4},
    "phase": "decode",
    "pass": 3,
    "margin": 0.25,
    "ids": [5, 3],
    "weights": [0.5, 0.25],
}
ENTRY = {
    "id": 1,
    "text": "layer:2 expert:5",
    "on": True,
    "hits": 0,
    "log": "",
    "condition": "",
    "ignore": 0,
    "problem": "",
}


class Played(FakeFeed):
    """A feed whose orders are noted."""

    def __init__(self, window: Window, qtbot: QtBot) -> None:
        super().__init__(window, qtbot)
        self.window = window
        self.orders: list[tuple[str, Mapping[str, Any]]] = []
        self.feed.conversation.order = lambda topic, value: self.orders.append((topic, value))  # type: ignore[method-assign]

    def tell(self, topic: str, value: Mapping[str, Any], number: int = 1) -> None:
        self.feed.told(topic, value, number)
        self.wait(lambda: self.feed.conversation.told.get((topic, number)) is value)

    @property
    def sent(self) -> list[str]:
        return [value["do"] for _, value in self.orders]


@pytest.fixture
def window(qtbot: QtBot, qapp):  # type: ignore[no-untyped-def]
    made = Window(SPECS, Settings(), Renderer(False, "raster"), read_capture)
    with qtbot.waitExposed(made):
        made.show()
    yield made
    made.saving.ask_unsaved = lambda sessions: "discard"  # type: ignore[method-assign]
    made.close()
    made.deleteLater()
    qapp.setStyleSheet("")


@pytest.fixture
def feed(window: Window, qtbot: QtBot) -> Played:
    return Played(window, qtbot)


def press(window: Window, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    window.activateWindow()
    QTest.keyClick(window, key, modifier)


def keys(window: Window, command: str) -> list[str]:
    return [keys.toString() for keys in window.menus.actions[command].shortcuts()]


def test_the_banner_says_why_and_where_and_goes(window: Window, feed: Played) -> None:
    session = feed.attach()
    banner = window.stop_banner
    assert banner.isHidden()
    feed.wait(lambda: not window.status._timer.isActive())
    feed.tell("stopped", STOP)
    assert banner.isVisible()
    assert banner.why.text() == "Stopped: layer:2 expert:5"
    assert banner.where.text().startswith('pass 3 (decode), not stored yet · layer 2 · expert 5 · token " def" at 4 · ')
    assert "5 × 0.5 · 3 × 0.25" in banner.where.text()
    assert session.selection == Selection(Kind.EXPERT, layer=2, expert=5), "the stop is $0"
    feed.wait(lambda: window.status._state.text().startswith("stopped at a breakpoint"))
    feed.wait(lambda: not window.status._timer.isActive())
    feed.tell("stopped", {})
    assert banner.isHidden()
    feed.wait(lambda: window.status._state.text().startswith("recording"))


@pytest.mark.parametrize("width", [700, 1500])
def test_where_there_is_little_room_it_still_says_that_the_pass_is_not_stored(
    window: Window, feed: Played, qtbot: QtBot, width: int
) -> None:
    window.resize(width, 900)
    feed.attach()
    feed.tell("stopped", STOP)
    banner = window.stop_banner
    qtbot.waitUntil(lambda: banner.width() == window.width())
    said = banner.where.text().split(" · token")[0]
    assert banner.where.fontMetrics().horizontalAdvance(f"{said}…") <= banner.where.width()
    for button, name in (
        (banner.resume, "Resume"),
        (banner.next_token, "Next token"),
        (banner.next_layer, "Next layer"),
    ):
        assert button.text() == ("" if width < 1000 else name)
        assert button.accessibleName() == name
        assert not button.icon().isNull()


def test_only_a_new_stop_is_selected(window: Window, feed: Played) -> None:
    session = feed.attach()
    feed.tell("stopped", STOP)
    session.select(Selection(Kind.LAYER, layer=1))
    feed.tell("breakpoints", {"active": True, "entries": [ENTRY]})
    assert session.selection.layer == 1, "what the user picked meanwhile stays"
    feed.tell("stopped", dict(STOP))
    assert session.selection.layer == 2, "stopped again, at the same place"


def test_when_its_pass_is_stored_the_token_where_it_stood_is_selected(window: Window, feed: Played) -> None:
    session = feed.attach()
    feed.run(session, 1)
    before = session.store.n_tokens()
    stop = {**STOP, "token": {**STOP["token"], "sequence": feed._passes, "column": 0}}  # type: ignore[dict-item]
    feed.tell("stopped", stop)
    stood = session.selection
    assert stood.kind is Kind.EXPERT
    feed.run(session, 1)
    assert session.selection is stood, "it still stands"
    feed.tell("stopped", {})
    feed.wait(lambda: session.selection.kind is Kind.TOKEN)
    assert session.selection.token == session.store.n_tokens() - 1 >= before  # its rows all have column 0
    assert session.selection.layer == 2
    # What the user picked meanwhile stays.
    feed.tell("stopped", {**stop, "token": {**stop["token"], "sequence": feed._passes}})
    session.select(Selection(Kind.LAYER, layer=1))
    feed.tell("stopped", {})
    feed.run(session, 1)
    feed.run(session, 1)
    assert session.selection.kind is Kind.LAYER


def test_a_stop_in_the_first_pass_of_all_is_told(window: Window, feed: Played) -> None:
    session = feed.attach()
    assert not session.store.n_passes
    feed.tell("stopped", {**STOP, "stream": "main"})
    assert window.stop_banner.isVisible()


def test_buttons_and_keys_go_on(window: Window, feed: Played) -> None:
    feed.attach()
    feed.tell("stopped", STOP)
    banner = window.stop_banner
    for button in (banner.resume, banner.next_token, banner.next_layer):
        button.click()
    assert feed.sent == ["resume", "step_token", "step_layer"]
    feed.orders.clear()
    for key in (Qt.Key.Key_F8, Qt.Key.Key_F10, Qt.Key.Key_F11):
        press(window, key)
    assert feed.sent == ["resume", "step_token", "step_layer"]
    assert not window.isFullScreen()


def test_keys_belong_to_the_stop_only_while_there_is_one(window: Window, feed: Played) -> None:
    session = feed.attach()
    feed.run(session, 2)
    assert (keys(window, "replay.toggle"), keys(window, "stop.resume")) == (["F8"], [])
    assert keys(window, "view.full_screen") == ["F11", "Shift+F11"]
    feed.tell("stopped", STOP)
    assert (keys(window, "replay.toggle"), keys(window, "stop.resume")) == ([], ["F8"])
    assert keys(window, "view.full_screen") == ["Shift+F11"]
    assert keys(window, "stop.next_layer") == ["F11"]
    feed.tell("stopped", {})
    assert keys(window, "replay.toggle") == ["F8"]
    press(window, Qt.Key.Key_F8)
    assert window.transport.playing
    press(window, Qt.Key.Key_F8)
    assert not window.transport.playing
    assert not feed.orders


def test_no_key_is_ambiguous(window: Window, feed: Played) -> None:
    feed.attach()
    for told in ({}, STOP):
        feed.tell("stopped", dict(told))
        taken = [keys for action in window.menus.actions.values() for keys in action.shortcuts()]
        assert len(taken) == len({keys.toString() for keys in taken})


def test_a_session_behind_is_named_and_shown(window: Window, feed: Played, qtbot: QtBot) -> None:
    stopped = feed.attach()
    other = Played(window, qtbot)
    front = other.attach(name="mixtral")
    assert window.files.current is front
    feed.tell("stopped", STOP)
    banner = window.stop_banner
    assert banner.why.text() == "Stopped in olmoe: layer:2 expert:5"
    assert banner.to_front.isVisible()
    assert banner.resume.isVisible()
    assert not banner.next_layer.isVisible()
    press(window, Qt.Key.Key_F10)
    assert not feed.orders, "the keys are for the session in front"
    assert keys(window, "view.full_screen") == ["F11", "Shift+F11"]
    banner.to_front.click()
    assert window.files.current is stopped
    assert not banner.to_front.isVisible()
    press(window, Qt.Key.Key_F8)
    assert feed.sent == ["resume"]
    assert not other.orders


def test_of_two_that_stand_the_one_in_front_is_told(window: Window, feed: Played, qtbot: QtBot) -> None:
    behind = feed.attach()
    other = Played(window, qtbot)
    front = other.attach(name="mixtral")
    feed.tell("stopped", STOP)
    other.tell("stopped", {**STOP, "why": "layer:1"})
    assert window.stop_banner.why.text() == "Stopped: layer:1"
    press(window, Qt.Key.Key_F8)
    assert (feed.sent, other.sent) == ([], ["resume"])
    other.tell("stopped", {})
    assert window.stop_banner.why.text().startswith("Stopped in olmoe")
    window.files.close(behind, discard=True)
    assert window.files.current is front
    assert window.stop_banner.isHidden(), "closed behind the one in front"


def test_of_two_models_of_a_kernel_only_the_session_of_the_one_that_stands_says_so(
    window: Window, feed: Played
) -> None:
    one = feed.attach()
    other = feed.attach(2, name="mixtral")
    assert window.files.current is other
    feed.tell("breakpoints", {"active": True, "entries": [ENTRY]}, 1)
    feed.tell("stopped", STOP, 1)
    assert (stop_of(one.live) is None, stop_of(other.live) is None) == (False, True)
    assert not breakpoints_of(other.live).entries
    assert other.selection == Selection()
    banner = window.stop_banner
    assert banner.why.text() == "Stopped in olmoe: layer:2 expert:5"
    press(window, Qt.Key.Key_F10)
    assert not feed.orders, "the model of the session in front runs"
    banner.resume.click()
    assert feed.orders == [("stopped", {"do": "resume", "stream": 1})]
    window.files.make_current(one)
    assert banner.why.text() == "Stopped: layer:2 expert:5"
    feed.tell("stopped", {**STOP, "why": "layer:1"}, 2)
    feed.tell("stopped", {}, 1)
    assert banner.why.text() == "Stopped in mixtral: layer:1"


@pytest.mark.parametrize("how", ["resumed", "link", "detached", "closed"])
def test_the_banner_goes_with_the_stop(window: Window, feed: Played, how: str) -> None:
    session = feed.attach()
    feed.tell("stopped", STOP)
    assert window.stop_banner.isVisible()
    if how == "resumed":
        feed.feed.told("stopped", {}, 1)
    elif how == "link":
        feed.feed.lost("the process ended")
    elif how == "detached":
        feed.feed.ended(1)
    else:
        window.files.close(session, discard=True)
    feed.wait(lambda: window.stop_banner.isHidden())
    assert keys(window, "stop.resume") == []


def test_deactivate_all(window: Window, feed: Played) -> None:
    feed.attach()
    feed.tell("breakpoints", {"active": True, "entries": [ENTRY]})
    feed.tell("stopped", STOP)
    window.stop_banner.all.click()
    press(window, Qt.Key.Key_F8, Qt.KeyboardModifier.ControlModifier)
    assert feed.orders == [("breakpoints", {"do": "activate", "on": False, "stream": 1})] * 2
    feed.tell("breakpoints", {"active": False, "entries": [ENTRY]})
    assert window.stop_banner.all.text() == "Activate all"
    window.stop_banner.all.click()
    assert feed.orders[-1] == ("breakpoints", {"do": "activate", "on": True, "stream": 1})


def test_commands_set_ready_ones(window: Window, feed: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not window.commands["break.nonfinite"].when(), "without a model there is nothing to break in"
    session = feed.attach()
    window.commands.run("break.nonfinite")
    assert feed.orders[-1][1] | {"text": "is:nonfinite", "do": "add"} == feed.orders[-1][1]
    assert not window.commands["break.expert"].when()
    session.select(Selection(Kind.EXPERT, layer=1, expert=3))
    window.commands.run("break.expert")
    assert feed.orders[-1][1]["text"] == "layer:1 expert:3"
    window.commands.run("break.layer")
    assert feed.orders[-1][1]["text"] == "layer:1 is:nonfinite"
    monkeypatch.setattr(break_menu, "ask_margin", lambda parent, layer: 0.5)
    window.commands.run("break.margin")
    assert feed.orders[-1][1]["text"] == "layer:1 margin<0.5"
    assert not window.commands["break.token"].when()
    assert not window.commands["break.clear"].when()
    feed.tell("breakpoints", {"active": True, "entries": [ENTRY]})
    window.commands.run("break.clear")
    assert feed.orders[-1] == ("breakpoints", {"do": "clear", "stream": 1})


def titles(menu: QMenu) -> list[str]:
    below = [action for action in menu.actions() if action.menu() is not None]
    return [action.text() for action in below[0].menu().actions() if action.text()] if below else []


def pick(menu: QMenu, start: str) -> None:
    below = next(action.menu() for action in menu.actions() if action.menu() is not None)
    next(action for action in below.actions() if action.text().startswith(start)).trigger()


def test_the_menu_breaks_on_what_is_pointed_at(
    window: Window, feed: Played, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> None:
    session = feed.attach()
    feed.run(session, 1)
    feed.run(session, 1)  # with the layers that the first one brought
    menu = QMenu(window)
    add_break_actions(menu, Selection(Kind.EXPERT, layer=2, expert=5), session, window)
    assert titles(menu) == [
        "When expert 2.5 is chosen",
        "When the margin at layer 2 is below…",
        "On NaN or infinity at layer 2",
        "Show all breakpoints",
    ]
    pick(menu, "When expert")
    pick(menu, "On NaN")
    monkeypatch.setattr(break_menu, "ask_margin", lambda parent, layer: 0.05)
    pick(menu, "When the margin")
    monkeypatch.setattr(break_menu, "ask_margin", lambda parent, layer: None)
    pick(menu, "When the margin")
    assert [value["text"] for _, value in feed.orders] == [
        "layer:2 expert:5",
        "layer:2 is:nonfinite",
        "layer:2 margin<0.05",
    ]
    menu.clear()
    stream = next(stream for stream in session.store.model.streams if session.store.n_tokens(stream) > 2)
    add_break_actions(menu, Selection(Kind.TOKEN, layer=1, token=2, stream=stream), session, window)
    pick(menu, "On this token")
    feed.wait(lambda: len(feed.orders) == 4)
    token = session.store.read_tokens(2, 3, stream)[0]["token_id"]
    assert feed.orders[-1][1]["text"] == f"layer:1 id:{token}", "this model has no tokenizer"
    menu.clear()
    session.select(Selection(Kind.LAYER, layer=0))
    add_break_actions(menu, Selection(Kind.TOKEN, token=2, stream=stream), session, window)
    assert titles(menu)[0] == "On this token's text at layer 0", "the layer that is selected"
    menu.clear()
    add_break_actions(menu, Selection(Kind.PASS, pass_id=0), session, window)
    assert menu.isEmpty(), "a pass is over, whatever is selected"
    feed.feed.ended(1)
    feed.wait(lambda: bool(session.live and session.live.ended))
    add_break_actions(menu, Selection(Kind.EXPERT, layer=2, expert=5), session, window)
    assert menu.isEmpty()
    menu.deleteLater()
