"""pytest-qt's robot with the patience of all tests: its own 5 s are what a busy machine takes to start a process."""

from collections.abc import Callable
from typing import Any

from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from tests.support.until import PATIENCE

MILLISECONDS = round(1000 * PATIENCE)


class PatientQtBot(QtBot):
    """A ``QtBot`` whose waits end with their condition, or fail after ``PATIENCE``."""

    def waitUntil(self, callback: Callable[[], bool | None], *, timeout: int = MILLISECONDS) -> None:  # noqa: N802
        """Let Qt work until ``callback`` returns True."""
        super().waitUntil(callback, timeout=timeout)

    def waitSignal(self, signal: Any, *, timeout: int = MILLISECONDS, **options: Any) -> Any:  # noqa: N802
        """Return a context that waits at its end until ``signal`` was emitted."""
        return super().waitSignal(signal, timeout=timeout, **options)

    def waitExposed(self, widget: QWidget, *, timeout: int = MILLISECONDS) -> Any:  # noqa: N802
        """Return a context that waits at its end until ``widget`` is on the screen."""
        return super().waitExposed(widget, timeout=timeout)
