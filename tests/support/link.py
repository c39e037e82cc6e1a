"""A receiver that keeps what it is told, and waits for it; batches compared array for array."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from moedesk.core.batch import RouteBatch
from moedesk.link.client import LinkClient
from moedesk.link.endpoint import Endpoint
from moedesk.link.keys import KeyPair
from moedesk.link.server import LinkServer
from tests.support.until import PATIENCE

SECONDS = PATIENCE
COLUMNS = ("counts", "experts", "weights", "entropy", "margin", "flags", "logits")


class Recorder:
    """A ``link.receiver.Receiver`` that keeps every call as (name, *values). A closed ``gate`` makes ``arrived`` wait."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self._change = threading.Condition()

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *values: self._keep(name, *values)

    def arrived(self, stream: int, batch: RouteBatch) -> None:
        self.waiting.set()
        assert self.gate.wait(SECONDS)
        self._keep("arrived", stream, batch)

    def _keep(self, *call: Any) -> None:
        with self._change:
            self.calls.append(call)
            self._change.notify_all()

    def all(self, name: str, stream: int | None = None) -> list[Any]:
        """The last values of all calls of a name."""
        return [call[-1] for call in tuple(self.calls) if call[0] == name and stream in (None, call[1])]

    def wait(self, met: Callable[[], Any]) -> None:
        with self._change:
            assert self._change.wait_for(met, SECONDS), [call[0] for call in self.calls]

    def wait_for(self, name: str, times: int = 1) -> list[Any]:
        self.wait(lambda: len(self.all(name)) >= times)
        return self.all(name)


@contextmanager
def server() -> Iterator[LinkServer]:
    made = LinkServer()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def client(endpoint: Endpoint, recorder: Recorder | None = None, keys: KeyPair | None = None) -> Iterator[LinkClient]:
    made = LinkClient(endpoint, recorder or Recorder(), keys)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        if recorder is not None:
            recorder.gate.set()
        made.close()


@contextmanager
def connected(recorder: Recorder) -> Iterator[tuple[LinkServer, LinkClient]]:
    """A server, and a client that was welcomed."""
    with server() as there, client(there.listen_local(), recorder) as here:
        recorder.wait_for("connected")
        yield there, here


def assert_same(found: RouteBatch, sent: RouteBatch) -> None:
    """The same, but for columns that say nothing: they need not arrive."""
    assert found.header == sent.header
    assert found.header.dtype == sent.header.dtype
    assert list(found.tokens) == list(sent.tokens)
    for stream, rows in sent.tokens.items():
        np.testing.assert_array_equal(found.tokens[stream], rows)
    assert [layer.layer for layer in found.layers] == [layer.layer for layer in sent.layers]
    for there, here in zip(found.layers, sent.layers, strict=True):
        for name in COLUMNS:
            wanted, got = getattr(here, name), getattr(there, name)
            if got is None and name in ("entropy", "margin", "flags") and wanted is not None:
                assert (wanted == 0 if name == "flags" else np.isnan(wanted)).all(), name
                continue
            assert (got is None) == (wanted is None), name
            if wanted is not None:
                assert got.dtype == wanted.dtype, name
                np.testing.assert_array_equal(got, wanted, name)  # NaN equals NaN here
                assert got.flags.aligned
