import logging
import sys
import warnings
from pathlib import Path

import pytest
from PySide6.QtCore import qWarning
from PySide6.QtWidgets import QApplication

from moedesk.ui.crash_log import CrashLog


@pytest.mark.no_qt_log
def test_what_nobody_caught_goes_to_the_log_and_one_line_to_the_user(
    qapp: QApplication, own_settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    hook = sys.excepthook
    log = CrashLog(told.append)
    try:
        try:
            raise ValueError("first line\nsecond line")
        except ValueError as error:
            sys.excepthook(ValueError, error, error.__traceback__)
        qWarning("a message of Qt")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("a warning of Python", stacklevel=1)
        logging.getLogger("moedesk.somewhere").error("an error of ours")
    finally:
        log.remove()
    path = own_settings / "log" / "moedesk.log"
    assert log.path == path
    assert len(told) == 1
    assert "\n" not in told[0]
    assert "ValueError: first line" in told[0]
    assert str(path) in told[0]
    text = path.read_text()
    for part in ("second line", "Traceback", "Qt: a message of Qt", "a warning of Python", "an error of ours"):
        assert part in text
    assert capsys.readouterr().err == ""
    assert sys.excepthook is hook
