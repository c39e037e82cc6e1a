"""The one clock of the window: at most 30 ticks a second, and none while nothing has changed."""

import time
from collections.abc import Callable

from PySide6.QtCore import QObject, Qt, QTimer

PERIOD = 1 / 30  # seconds


class Ticker(QObject):
    """Calls its listeners at most 30 times a second, and only after ``wake`` or while one of them wants to go on."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._listeners: list[Callable[[], bool]] = []
        self._last = 0.0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)

    def add(self, listener: Callable[[], bool]) -> Callable[[], None]:
        """Add a listener, which returns whether it wants the next tick too; return a function that removes it."""
        self._listeners.append(listener)

        def disconnect() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return disconnect

    @property
    def running(self) -> bool:
        """Whether a tick is due."""
        return self._timer.isActive()

    def wake(self) -> None:
        """Ask for a tick: at once after a pause, else when the last one is a period old."""
        if not self._timer.isActive():
            wait = self._last + PERIOD - time.monotonic()
            self._timer.start(max(0, round(wait * 1000)))

    def stop(self) -> None:
        """Take back the tick that is due."""
        self._timer.stop()

    def _tick(self) -> None:
        self._last = time.monotonic()
        go_on = [listener() for listener in tuple(self._listeners)]
        if any(go_on):
            self.wake()
