"""A limit on how often something is done: numbers that change thirty times a second can't be read."""

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer


class Throttle(QObject):
    """Calls a function at once when asked, then at most once a period; the last call makes up for those asked for meanwhile.

    Parameters
    ----------
    function : callable
    period : int
        Milliseconds.
    """

    def __init__(self, function: Callable[[], None], period: int, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._function = function
        self._asked = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(period)
        self._timer.timeout.connect(self._go_on)

    def ask(self) -> None:
        """Call the function, now or when the period is over."""
        if self._timer.isActive():
            self._asked = True
        else:
            self._timer.start()
            self._function()

    def done(self) -> None:
        """Say that the function was called otherwise: nothing is left to do."""
        self._asked = False

    def _go_on(self) -> None:
        if self._asked:
            self._asked = False
            self.ask()
