"""The app's end of a link that only notes what it is told."""

from collections.abc import Mapping, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np

from moedesk.core.batch import RouteBatch
from moedesk.core.live import Counters
from moedesk.core.model import ModelInfo
from moedesk.core.training import TrainingStep
from tests.support.until import PATIENCE


class NotingReceiver:
    """Implements ``moedesk.link.receiver.Receiver``: one queue a kind of news."""

    def __init__(self) -> None:
        self._news: dict[str, SimpleQueue[Any]] = {}

    def next(self, kind: str) -> Any:
        """The next news of a kind."""
        return self._queue(kind).get(timeout=PATIENCE)

    def _queue(self, kind: str) -> "SimpleQueue[Any]":
        return self._news.setdefault(kind, SimpleQueue())

    def connected(self, about: Mapping[str, Any]) -> None:
        self._queue("connected").put(about)

    def opened(self, stream: int, name: str) -> None:
        self._queue("opened").put((stream, name))

    def described(self, stream: int, model: ModelInfo) -> None:
        self._queue("described").put((stream, model))

    def texts(self, stream: int, ids: np.ndarray, texts: Sequence[bytes]) -> None:
        self._queue("texts").put((stream, ids, texts))

    def arrived(self, stream: int, batch: RouteBatch) -> None:
        self._queue("arrived").put((stream, batch))

    def stepped(self, stream: int, step: TrainingStep) -> None:
        self._queue("stepped").put((stream, step))

    def noted(self, stream: int, line: str) -> None:
        self._queue("noted").put((stream, line))

    def counted(self, stream: int, counters: Counters) -> None:
        self._queue("counted").put((stream, counters))

    def ended(self, stream: int) -> None:
        self._queue("ended").put(stream)

    def revealed(self, place: Mapping[str, Any]) -> None:
        self._queue("revealed").put(place)

    def answered(self, request: int, text: str, ok: bool) -> None:
        self._queue("answered").put((request, text, ok))

    def told(self, topic: str, value: Mapping[str, Any], stream: int) -> None:
        self._queue("told").put((topic, value, stream))

    def progressed(self, request: int, share: float, text: str) -> None:
        self._queue("progressed").put((request, share, text))

    def finished(
        self, request: int, ok: bool, text: str, value: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> None:
        self._queue("finished").put((request, ok, text, value, arrays))

    def explained(self, stream: int, value: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self._queue("explained").put((stream, value, arrays))

    def lost(self, reason: str) -> None:
        self._queue("lost").put(reason)
