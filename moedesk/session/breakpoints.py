"""The breakpoints of a live model, as its process tells them, and the orders that change them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from moedesk.core.breakpoint import Breakpoint
from moedesk.core.errors import FilterError, MoedeskError
from moedesk.core.filter import Numbers
from moedesk.core.model import ModelInfo
from moedesk.session.live import Live

TOPIC = "breakpoints"


@dataclass(frozen=True)
class BreakpointEntry:
    """One breakpoint of the list.

    Attributes
    ----------
    id : int
    breakpoint : Breakpoint
    on : bool
        Whether its check box is set.
    hits : int
        How often it stopped the model or printed its line, passed-over matches included.
    problem : str
        Why it can't break in the model that is attached now, in one line; empty if it can.
    """

    id: int
    breakpoint: Breakpoint
    on: bool = True
    hits: int = 0
    problem: str = ""


@dataclass(frozen=True)
class BreakpointList:
    """All breakpoints of a model's process, in the order in which they were set.

    Attributes
    ----------
    entries : tuple of BreakpointEntry
    active : bool
        False while all of them are deactivated together.
    problem : str
        Why the last order was refused, in one line; empty if it wasn't.
    """

    entries: tuple[BreakpointEntry, ...] = ()
    active: bool = True
    problem: str = ""

    def entry(self, number: int) -> BreakpointEntry | None:
        """Return the entry with an id, if it is there."""
        return next((entry for entry in self.entries if entry.id == number), None)


@dataclass(frozen=True)
class NamedByBreakpoints:
    """What breakpoints name: layers by their place, experts by (layer, expert), each with the texts that do."""

    layers: Mapping[int, tuple[str, ...]]
    experts: Mapping[tuple[int, int], tuple[str, ...]]


def breakpoints_of(live: Live | None) -> BreakpointList:
    """Return the breakpoints of a session's model; none of a file."""
    return BreakpointList() if live is None else read_breakpoints(live.told(TOPIC))


def read_breakpoints(value: Mapping[str, Any]) -> BreakpointList:
    """Return what the topic ``breakpoints`` says; an entry that makes no sense is left out."""
    told = value.get("entries")
    entries = [_entry(entry) for entry in told] if isinstance(told, list) else []
    return BreakpointList(
        tuple(entry for entry in entries if entry is not None),
        value.get("active") is not False,
        str(value.get("problem") or ""),
    )


def _entry(value: Any) -> BreakpointEntry | None:
    try:
        fields = {name: value[name] for name in ("text", "log", "condition", "ignore") if name in value}
        return BreakpointEntry(
            int(value["id"]),
            Breakpoint.from_json(fields),
            value.get("on") is not False,
            int(value.get("hits") or 0),
            str(value.get("problem") or ""),
        )
    except (MoedeskError, KeyError, TypeError, ValueError):
        return None


def can_break(live: Live | None) -> bool:
    """Whether there is a model's process that could stop."""
    return live is not None and not live.ended and live.attached


def add(live: Live, breakpoint: Breakpoint, model: ModelInfo) -> None:
    """Set a breakpoint.

    Raises
    ------
    MoedeskError
        In one line, if it can't break; nothing is sent then.
    """
    breakpoint.check(model)
    live.order(TOPIC, {"do": "add", **breakpoint.to_json()})


def change(live: Live, number: int, breakpoint: Breakpoint, model: ModelInfo) -> None:
    """Put another breakpoint in the place of one; it keeps its id and its hits.

    Raises
    ------
    MoedeskError
        In one line, if it can't break; nothing is sent then.
    """
    breakpoint.check(model)
    live.order(TOPIC, {"do": "change", "id": number, **breakpoint.to_json()})


def remove(live: Live, number: int) -> None:
    """Take a breakpoint away."""
    live.order(TOPIC, {"do": "remove", "id": number})


def switch(live: Live, number: int, on: bool) -> None:
    """Set a breakpoint's check box."""
    live.order(TOPIC, {"do": "switch", "id": number, "on": on})


def activate(live: Live, on: bool) -> None:
    """Activate all breakpoints, or deactivate them together; their check boxes stay as they are."""
    live.order(TOPIC, {"do": "activate", "on": on})


def clear(live: Live) -> None:
    """Take all breakpoints away."""
    live.order(TOPIC, {"do": "clear"})


def named_by(breakpoints: BreakpointList, model: ModelInfo) -> NamedByBreakpoints:
    """Return which layers and experts the breakpoints that are switched on name.

    A breakpoint that names experts names their layers too; one that names neither layer nor expert names nothing.
    """
    layers: dict[int, list[str]] = {}
    experts: dict[tuple[int, int], list[str]] = {}
    for entry in breakpoints.entries:
        try:
            chosen = entry.breakpoint.filter
        except FilterError:
            continue
        if not entry.on:
            continue
        terms = [term for term in chosen.terms if not term.negated and term.key in ("layer", "expert")]
        numbers = [term.value for term in terms if term.key == "expert" and isinstance(term.value, Numbers)]
        for layer in model.layers if terms else ():
            if not chosen.wants_layer(layer):
                continue
            layers.setdefault(layer.place, []).append(entry.breakpoint.text)
            named = np.zeros(layer.experts, bool)
            for value in numbers:
                named |= value.holds(np.arange(layer.experts))
            for expert in np.flatnonzero(named).tolist():
                experts.setdefault((layer.place, expert), []).append(entry.breakpoint.text)
    return NamedByBreakpoints(
        {place: tuple(texts) for place, texts in layers.items()},
        {place: tuple(texts) for place, texts in experts.items()},
    )
