"""At once, then at most once a period."""

from PySide6.QtCore import QTimer
from pytestqt.qtbot import QtBot

from moedesk.ui.throttle import Throttle


def test_the_first_is_done_at_once_and_the_rest_together_later(qtbot: QtBot) -> None:
    called: list[int] = []
    throttle = Throttle(lambda: called.append(1), 50)
    for _ in range(5):
        throttle.ask()
    assert len(called) == 1
    qtbot.waitUntil(lambda: len(called) == 2)
    with qtbot.waitSignal(throttle.findChild(QTimer).timeout):
        pass
    assert len(called) == 2


def test_what_was_done_otherwise_is_not_done_again(qtbot: QtBot) -> None:
    called: list[int] = []
    throttle = Throttle(lambda: called.append(1), 20)
    throttle.ask()
    throttle.ask()
    throttle.done()
    with qtbot.waitSignal(throttle.findChild(QTimer).timeout):
        pass
    assert len(called) == 1
