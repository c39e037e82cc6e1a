"""Waiting for what must happen. A wait ends as soon as it has happened, so patience costs nothing but a failure's time."""

import time
from collections.abc import Callable

PATIENCE = 180.0
"""Seconds until what has not happened never will, on a machine that has ten times as much to do as it can."""


def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Return when ``condition`` holds; fail if it doesn't in time."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.005)
