"""Hooks around a block until its first call was understood, and how they leave, whichever thread they are in."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch.utils.hooks import RemovableHandle

from moedesk.probe.finding.discovery import Candidate
from moedesk.probe.finding.ranking import RankingObserver

NO_NAMES: Mapping[str, Any] = MappingProxyType({})
"""Stands in for keyword arguments: torch leaves them out for a hook that another thread has just removed."""


class Lookout:
    """Waits for the first call of one candidate.

    Attributes
    ----------
    candidate : Candidate
    """

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self._over = False
        self._observer = RankingObserver()
        self._handles: list[RemovableHandle] = []

    def _forget(self) -> None:
        """Let go of what an unfinished call left."""

    def rest(self) -> None:
        """Forget an unfinished call: the pass is over (an interrupt passes the block's own hook by)."""
        self._observer.stop()
        self._forget()

    def detach(self) -> None:
        """Remove every hook; those around a call that another thread is in, when it leaves."""
        self._over = True
        self._forget()
        if self._observer.stop():
            self._remove()

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _leaving(self) -> bool:
        """Whether this scout is done; ends what it could not end from another thread."""
        if self._over and self._observer.stop():
            self._remove()
        return self._over
