"""Results of worker threads, handed to the GUI thread."""

from collections.abc import Callable

from PySide6.QtCore import QObject, Qt, Signal


class Delivery(QObject):
    """Call it from any thread with a function: the GUI thread runs that soon."""

    _call = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._call.connect(self._run, Qt.ConnectionType.QueuedConnection)

    def __call__(self, function: Callable[[], None]) -> None:
        """Have ``function`` run in the GUI thread."""
        self._call.emit(function)

    def _run(self, function: Callable[[], None]) -> None:
        function()
