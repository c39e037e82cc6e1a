"""A running model in numbers: how fast it fills its capture, what the hooks cost, what was left out. No Qt."""

from collections import deque

from moedesk.core.live import Counters
from moedesk.session.session import Session
from moedesk.session.stop import stop_of

SECONDS = 3.0
"""Over how long a rate is taken."""


class Rate:
    """How fast some counts grow, over the last ``SECONDS``."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, tuple[int, ...]]] = deque()

    def add(self, now: float, *counts: int) -> None:
        """Take in what the counts are at ``now`` (seconds, any clock)."""
        self._seen.append((now, counts))
        while len(self._seen) > 2 and self._seen[1][0] <= now - SECONDS:
            self._seen.popleft()

    def per_second(self, place: int) -> float:
        """Return the growth a second of the count at a place; 0 with fewer than two readings."""
        if len(self._seen) < 2:
            return 0.0
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        return (last[place] - first[place]) / (end - start) if end > start else 0.0


def rate_text(per_second: float, what: str) -> str:
    """Return a rate with its unit: ``12.5 passes/s``."""
    digits = 0 if per_second >= 99.95 or per_second == 0 else 1
    return f"{per_second:,.{digits}f} {what}/s"


def overhead_text(counters: Counters, layers: int) -> str:
    """Return what the hooks cost: their share of the passes' time, and time a layer and pass; empty if unknown."""
    if not counters.pass_ns or not counters.passes or not layers:
        return ""
    share = 100 * counters.hook_ns / counters.pass_ns
    each = counters.hook_ns / counters.passes / layers / 1e3
    time = f"{each:.3g} µs" if each < 999.5 else f"{each / 1e3:.3g} ms"
    return f"hooks {share:.2g} % · {time} a layer and pass"


def recording_text(session: Session) -> str:
    """Return what becomes of a live session's passes, in a few words."""
    live = session.live
    if live is None or live.ended:
        state = "ended"
    elif not live.attached:
        state = "no model attached"
    else:
        state = "recording to a scratch capture" if live.recording else "not recording"
        state = f"stopped at a breakpoint · {state}" if stop_of(live) is not None else state
    unsaved = session.unsaved
    kept = f"{unsaved} unsaved" if unsaved else "all saved"
    return f"{state} · {kept}" if session.store.n_passes else state
