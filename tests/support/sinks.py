"""Sinks that attachments are tried with."""

import threading
from dataclasses import dataclass, field

from moedesk.core.batch import RouteBatch
from tests.support.gathered import Gathered


@dataclass
class Counted(Gathered):
    """A sink that is told what passes cost, as the link is."""

    sums: dict[str, int] = field(default_factory=dict)

    def count(self, **increments: int) -> None:
        for name, added in increments.items():
            self.sums[name] = self.sums.get(name, 0) + added


@dataclass
class Blocked(Counted):
    """A sink that takes no pass until it is let go."""

    entered: threading.Event = field(default_factory=threading.Event)
    free: threading.Event = field(default_factory=threading.Event)

    def append(self, batch: RouteBatch) -> None:
        self.entered.set()
        self.free.wait()
        super().append(batch)
