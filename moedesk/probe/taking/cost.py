"""What passes cost and what became of them, added up on the model's thread and read from any other."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from moedesk.core.live import Counters
from moedesk.probe.taking.compiled import apart

Hook = TypeVar("Hook", bound=Callable[..., Any])


@dataclass
class Cost:
    """Growing sums, as in ``core.live.Counters``.

    Attributes
    ----------
    passes : int
        Passes that saw an MoE layer: those delivered, those shed, those dropped.
    spared, shed, dropped, dropped_tokens : int
    hook_ns, pass_ns : int
    """

    passes: int = 0
    spared: int = 0
    shed: int = 0
    dropped: int = 0
    dropped_tokens: int = 0
    hook_ns: int = 0
    pass_ns: int = 0

    def timed(self, hook: Hook) -> Hook:
        """Return a hook that does the same and adds its time to ``hook_ns``."""
        clock = time.perf_counter_ns

        def timed_hook(*arguments: Any) -> Any:
            began = clock()
            try:
                return hook(*arguments)
            finally:
                self.hook_ns += clock() - began

        return apart(timed_hook)  # type: ignore[return-value]

    def counters(self, queued_bytes: int) -> Counters:
        """Return the sums so far."""
        return Counters(queued_bytes=queued_bytes, **vars(self))

    def beyond(self, other: "Cost") -> dict[str, int]:
        """Return how much more this is than another, by field."""
        return {name: getattr(self, name) - getattr(other, name) for name in _NAMES}

    def add(self, increments: Mapping[str, int]) -> None:
        """Add to fields."""
        for name, added in increments.items():
            setattr(self, name, getattr(self, name) + added)


_NAMES = tuple(field.name for field in fields(Cost))
