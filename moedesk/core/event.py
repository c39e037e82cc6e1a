"""A list of listeners, without Qt."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Event(Generic[T]):
    """Calls its listeners, in the order they were added, with one value."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[T], None]] = []

    def connect(self, listener: Callable[[T], None]) -> Callable[[], None]:
        """Add a listener; return a function that removes it (calling it twice is harmless)."""
        self._listeners.append(listener)

        def disconnect() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return disconnect

    def emit(self, value: T) -> None:
        """Call every listener with ``value``."""
        for listener in tuple(self._listeners):
            listener(value)

    def __len__(self) -> int:
        return len(self._listeners)
