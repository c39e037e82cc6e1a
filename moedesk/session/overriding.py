"""The overrides of a session's model: what the model's process says of them, and the orders that change them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from moedesk.core.acted import Acted, first_few
from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override
from moedesk.core.override_file import Kept, plain
from moedesk.session.overridden import Overridden
from moedesk.session.recorded_overrides import RecordedOverrides

if TYPE_CHECKING:
    from moedesk.session.session import Session

TOPIC = "overrides"
"""What the link calls them, and ``Session.changed`` too."""
NO_MODEL = "overrides change a running model: attach one in the console, moe.attach()"


@dataclass(frozen=True)
class Entry:
    """One override of the list in the model's process, or one that acted while a capture was recorded.

    Attributes
    ----------
    id : int
        Its number there.
    on : bool
    acted : int
        On how many token rows, layer by layer, it changed ids or weights so far; of a capture 0, since rows don't say which did.
    override : Override
    passes : tuple of (int, int)
        Of a capture, the passes on which it acted; else empty.
    """

    id: int
    on: bool
    acted: int
    override: Override
    passes: tuple[tuple[int, int], ...] = ()

    @property
    def said(self) -> str:
        """What it does, and of a capture on which passes it did."""
        return Acted(self.override, self.passes).said if self.passes else self.override.title

    def touches(self, layer: int, expert: int | None = None) -> bool:
        """Return whether it is on and about a layer, or about an expert of it."""
        if not self.on or not self.override.acts_on(layer):
            return False
        return expert is None or expert in self.override.experts


@dataclass(frozen=True)
class Told:
    """What the model's process said last.

    Attributes
    ----------
    entries : tuple of Entry
    undo, redo : str
        What would be undone or redone; empty if nothing.
    note : str
        What went wrong with the last order, or what an override can't do; empty if nothing.
    """

    entries: tuple[Entry, ...] = ()
    undo: str = ""
    redo: str = ""
    note: str = ""

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Told":
        """Read what came over the link; an entry that makes no sense is left out, and that is noted."""
        entries, unread = [], []
        for entry in value.get("entries", ()):
            try:
                override = Override.from_json(entry["override"])
                entries.append(Entry(int(entry["id"]), bool(entry["on"]), int(entry["acted"]), override))
            except (MoedeskError, LookupError, TypeError, ValueError) as error:
                unread.append(f"an override could not be read: {error}")
        note = " · ".join([*filter(None, [str(value.get("note", ""))]), *unread[:1]])
        return cls(tuple(entries), str(value.get("undo", "")), str(value.get("redo", "")), note)


class Overriding:
    """What overrides act on the model of a session, and how to change them.

    The list is kept in the model's process, so that the console and the app show the same one; orders return at once and are
    answered by ``Session.changed`` with ``overrides``.
    """

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._read: tuple[Mapping[str, Any], Told] = ({}, Told())
        self._listed: tuple[tuple[Acted, ...], tuple[Entry, ...]] = ((), ())
        self._recorded = RecordedOverrides(session.store, session.jobs, session.changed, TOPIC)

    @property
    def told(self) -> Told:
        """What the model's process said last; of a session without one, nothing."""
        live = self._session.live
        value = live.told(TOPIC) if live is not None else {}
        if value is not self._read[0]:
            self._read = (value, Told.of(value))
        return self._read[1]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All overrides, those that are switched off too, in the order in which they act."""
        return self.told.entries

    @property
    def acting(self) -> tuple[Entry, ...]:
        """Those that are switched on."""
        return tuple(entry for entry in self.entries if entry.on)

    @property
    def acted(self) -> tuple[Entry, ...]:
        """Those that acted on the session's passes, also of a model that runs, as far as they are read."""
        found = self._recorded.all
        if found is not self._listed[0]:
            self._listed = (
                found,
                tuple(Entry(number, True, 0, one.override, one.passes) for number, one in enumerate(found, 1)),
            )
        return self._listed[1]

    @property
    def recorded(self) -> tuple[Entry, ...]:
        """Those that acted on the passes of a capture; none while a model runs, which tells its own."""
        return () if not self.why_not or self.entries else self.acted

    def over(self, first: int, last: int) -> Overridden:
        """Return what acted on the passes first…last (end excluded), and what is on now but did not."""
        entries = zip(self.acted, self._listed[0], strict=True)
        acted = tuple(entry for entry, one in entries if one.within(first, last))
        acting = self.acting
        known = {_nameless(entry.override) for entry in acted} if acting else frozenset()
        waiting = tuple(entry for entry in acting if _nameless(entry.override) not in known)
        return Overridden(acted, waiting, len(self._session.store.model.layers))

    def in_view(self, first: int | None = None, last: int | None = None) -> Overridden:
        """Return what ``over`` does for the passes in view, as far as they are among first…last (end excluded)."""
        low, high = self._session.span
        return self.over(max(low, first or 0), high if last is None else min(high, last))

    def at(self, layer: int | None, expert: int | None = None) -> tuple[Entry, ...]:
        """Return those that are on at a layer, or about an expert of it."""
        return () if layer is None else tuple(entry for entry in self.entries if entry.touches(layer, expert))

    @property
    def why_not(self) -> str:
        """Why nothing can be overridden now and what to do, in one line; empty if it can."""
        live = self._session.live
        if live is None:
            return NO_MODEL
        if live.ended:
            return f"the model is gone ({live.ended}): attach one in the console, moe.attach()"
        if not live.attached or not self._session.store.model.layers:
            return NO_MODEL
        return ""

    def add(self, override: Override) -> None:
        """Set one more override, on.

        Raises
        ------
        MoedeskError
            If it doesn't fit the model, or there is none.
        """
        self.check(override)
        self._order("add", override=override.to_json())

    def add_all(self, kept: Sequence[Kept], origin: str) -> None:
        """Set several more in one step; those that are kept switched off come switched off.

        Parameters
        ----------
        kept : sequence of Kept
        origin : str
            The file that they come from.

        Raises
        ------
        MoedeskError
            If one of them doesn't fit the model, or there is none; then none is set.
        """
        for one in kept:
            self.check(one.override)
        self._order("load", overrides=plain(kept), name=origin)

    def change(self, number: int, override: Override) -> None:
        """Put another override in the place of one.

        Raises
        ------
        MoedeskError
            If it doesn't fit the model, or there is none.
        """
        self.check(override)
        self._order("change", id=number, override=override.to_json())

    def rename(self, entry: Entry, name: str) -> None:
        """Give one another name.

        Raises
        ------
        MoedeskError
            If it isn't a name.
        """
        if name != entry.override.name:
            self.change(entry.id, replace(entry.override, name=name))

    def switch(self, number: int, on: bool) -> None:
        """Let one act, or not."""
        self._order("switch", id=number, on=on)

    def remove(self, number: int) -> None:
        """Take one away."""
        self._order("remove", id=number)

    def undo(self) -> None:
        """Take the last change back, whoever made it."""
        self._order("undo")

    def redo(self) -> None:
        """Make the change again that was taken back last."""
        self._order("redo")

    def clear(self) -> None:
        """Take all away."""
        self._order("clear")

    def check(self, override: Override) -> None:
        """Check that an override fits the model.

        Raises
        ------
        MoedeskError
            If it doesn't, or there is no model.
        """
        if self.why_not:
            raise MoedeskError(self.why_not)
        override.check(self._session.store.model)

    def _order(self, do: str, **more: Any) -> None:
        live = self._session.live
        if live is not None and not self.why_not:
            live.order(TOPIC, {"do": do, **more})


def _nameless(override: Override) -> Override:
    """An override without its name: renamed, it is the same one."""
    return replace(override, name="") if override.name else override


def say_all(entries: Iterable[Entry]) -> str:
    """Return what several overrides do, a line each."""
    return "\n".join(first_few(entry.said for entry in entries))
