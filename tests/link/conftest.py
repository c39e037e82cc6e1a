"""pyzmq's own thread, which lets go of what was sent, starts with the first large message and stays: before any test, then."""

import threading
from collections.abc import Iterator

import pytest
from zmq.utils.garbage import gc


@pytest.fixture(scope="session", autouse=True)
def pyzmq_thread() -> Iterator[None]:
    before = set(threading.enumerate())
    if not gc.is_alive():
        gc.start()
    yield
    if gc.thread not in before:
        gc.stop()
