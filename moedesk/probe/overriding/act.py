"""One override at work on one layer: on which rows, and how many it changed."""

import threading
from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor

from moedesk.core.override import Override, OverrideKind
from moedesk.probe.finding.binding import Binding
from moedesk.probe.overriding.captured import Captured, CapturedRouting
from moedesk.probe.overriding.changes import Rows
from moedesk.probe.overriding.context import Context, Ready, StackCall
from moedesk.probe.taking.overridden import Later, rows_of, taken
from moedesk.probe.taking.tap import recomputing

_TOGETHER = 64
"""Calls whose rows are counted together."""
ON_SCORE = frozenset({OverrideKind.EXCLUDE, OverrideKind.FORCE, OverrideKind.BIAS, OverrideKind.TEMPERATURE})
"""Kinds that act on the score, whatever else they are; a replay of ids alone does too."""


def on_score(override: Override, selection: str = "token choice") -> bool:
    """Return whether an override acts on the score, and through the model's own selection; else on what that gives.

    Where the caller gives the choice, force and replay change what is given.
    """
    if selection == "given" and override.kind in (OverrideKind.FORCE, OverrideKind.REPLAY):
        return False
    return override.kind in ON_SCORE or (override.kind is OverrideKind.REPLAY and not override.weights)


class Tally:
    """Counts rows on their device, many calls at a time; only who reads it waits.

    Attributes
    ----------
    counts : bool
        Whether it takes anything.
    """

    def __init__(self) -> None:
        self.counts = True
        self._waiting: deque[tuple[Tensor | Later, Rows]] = deque()
        self._sums: dict[torch.device, Tensor] = {}
        self._lock = threading.Lock()

    def add(self, rows: Tensor | Later, among: Rows = None) -> None:
        """Add how many of (N,) bools are true, ``among`` others; nobody may write to them any more."""
        if not self.counts:
            return
        self._waiting.append((rows, among))
        if len(self._waiting) >= _TOGETHER:
            self._add_up()

    def _add_up(self) -> None:
        with self._lock, torch.no_grad():
            masks = [rows_of(rows) if among is None else rows_of(rows) & among for rows, among in taken(self._waiting)]
            for device in {mask.device for mask in masks}:
                total = torch.cat([mask for mask in masks if mask.device == device]).sum()
                known = self._sums.get(device)
                self._sums[device] = total if known is None else known + total

    def read(self) -> int:
        """Return the sum so far; waits for the device."""
        self._add_up()
        return sum(int(total) for total in tuple(self._sums.values()))


@dataclass(frozen=True, eq=False)
class Act:
    """An override at work.

    Attributes
    ----------
    override : Override
    binding : Binding
    context : Context or None
        Needed where it is limited to columns or phases.
    tally : Tally
    notes : dict
        Takes why it did not act, once.
    captured : Captured or None
        What it replays.
    """

    override: Override
    binding: Binding
    context: Context | None = None
    tally: Tally = field(default_factory=Tally)
    notes: dict[str, None] = field(default_factory=dict)
    captured: Captured | None = None

    @property
    def scores(self) -> bool:
        """Whether it acts on the score of its layer."""
        return on_score(self.override, self.binding.layer.selection)

    def rows(self, count: int, device: torch.device) -> Rows | bool:
        """Return which of a call's rows it acts on: False for none, None for all."""
        if self.override.columns is None and not self.override.phases:
            return None
        ready = self._ready(count, device)
        return self.find_rows(count, device) if ready is None else ready.rows

    def find_rows(self, count: int, device: torch.device) -> Rows | bool:
        """Work out the same for a call that is under way."""
        columns, phases = self.override.columns, self.override.phases
        assert self.context is not None
        if phases and (self.context.last is None or self.context.last.phase not in phases):
            return False
        if columns is None:
            return None
        found = self._call(count)
        return False if found is None else found.rows_in(columns, device, self.binding.candidate.pool)

    def replayed(self, count: int, device: torch.device) -> CapturedRouting | None:
        """Return what the capture says of a call's rows; None if the capture doesn't have this pass.

        Where the tokens are on a device, waits for it once a pass.
        """
        ready = self._ready(count, device)
        return self.find_replayed(count, device) if ready is None else ready.replayed

    def find_replayed(self, count: int, device: torch.device) -> CapturedRouting | None:
        """Work out the same for a call that is under way."""
        assert self.captured is not None
        stream = self.binding.layer.stream
        found = self._call(count, stream in self.captured.unnamed)
        if found is None:
            return None
        number = found.replayed(self.captured, stream, count)
        routing = None if number is None else self.captured.routing(self.binding.layer.place, number)
        if routing is not None and self.binding.candidate.pool is not None:
            routing = routing.of_present()
        if routing is None or len(routing.ids) != count:
            return None
        return routing if device.type == "cpu" else routing.on(device)

    def _ready(self, count: int, device: torch.device) -> Ready | None:
        """What was worked out for all layers when the first of them was called; None if that is not about this call."""
        context = self.context
        assert context is not None
        ready = context.ready.get(self)
        if ready is None:
            ready = context.make_ready(self, count, device)
        return ready if ready is not None and ready.length == count and ready.device == device else None

    def _call(self, count: int, unnamed: bool = False) -> StackCall | None:
        """The call of the layer's stack, if its rows are the tokens of the pass, or none at all; if not, that is noted."""
        assert self.context is not None
        if self.context.last is None:  # switched on in the middle of a pass
            return None
        found = self.context.call(self.binding, count, unnamed)
        if found is None:
            where = self.binding.layer.path
            self.notes[
                f"{self.override.title}: it doesn't act on {where}, whose rows are not the tokens of the pass"
            ] = None
        return found

    def count(self, changed: Tensor | Later, rows: Rows) -> None:
        """Count rows that were changed, of those that it acts on."""
        if not recomputing():
            self.tally.add(changed, rows)
