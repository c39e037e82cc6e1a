"""What overrides did to some passes: those that acted on them, and those that are on now but did not."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moedesk.core.acted import first_few

if TYPE_CHECKING:
    from moedesk.session.overriding import Entry

Places = frozenset[tuple[int, int | None]]
"""Layers, with None, and experts with their layer."""


@dataclass(frozen=True)
class Overridden:
    """The overrides of some passes.

    Attributes
    ----------
    acted : tuple of Entry
        Those that acted on any of these passes.
    waiting : tuple of Entry
        Those that are on now and acted on none of them: they begin with the next pass.
    layers : int
        MoE layers of the model.
    """

    acted: tuple["Entry", ...] = ()
    waiting: tuple["Entry", ...] = ()
    layers: int = 0

    @property
    def places(self) -> Places:
        """The layers on which overrides acted, and the experts that these are about."""
        return self._places(self.acted)

    @property
    def waiting_places(self) -> Places:
        """The same of what is on now and did not act; places that are overridden left out."""
        return self._places(self.waiting) - self.places

    def said_of(self, first: tuple[int, int], last: tuple[int, int]) -> str:
        """Return what overrides the experts from one (layer, expert) to another, in one line; empty if nothing does."""
        acted, waiting = (_about(entries, first, last) for entries in (self.acted, self.waiting))
        parts = [f"overridden: {'; '.join(acted)}" if acted else ""]
        parts.append(f"on now, not on these passes: {'; '.join(waiting)}" if waiting else "")
        return " · ".join(filter(None, parts))

    def _places(self, entries: Iterable["Entry"]) -> Places:
        found: set[tuple[int, int | None]] = set()
        for override in {entry.override for entry in entries}:
            for layer in override.layers or range(self.layers):
                found.add((layer, None))
                found.update((layer, expert) for expert in override.experts)
        return frozenset(found)


def _about(entries: Iterable["Entry"], first: tuple[int, int], last: tuple[int, int]) -> list[str]:
    said = (
        entry.said
        for entry in entries
        for layer in range(first[0], last[0] + 1)
        if entry.override.acts_on(layer)
        and (not entry.override.experts or any(first <= (layer, expert) <= last for expert in entry.override.experts))
    )
    return first_few(dict.fromkeys(said))
