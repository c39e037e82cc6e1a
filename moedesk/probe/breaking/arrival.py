"""A layer that the model is in: its routing on the host, as a capture would have it, and which of its rows a filter keeps."""

from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from moedesk.core.batch import LayerRoutes
from moedesk.core.filter import Filter, LayerRows, Match, match_routes, match_tokens
from moedesk.core.filter.load import load_of, slot_loads
from moedesk.core.filter.match import Texts
from moedesk.core.model import LayerInfo
from moedesk.probe.adapters.adapter import ABSENT, Routing
from moedesk.probe.breaking.layer_watch import Reached
from moedesk.probe.breaking.sieve import Sieve
from moedesk.probe.breaking.under_way import UnderWay
from moedesk.probe.overriding.layer_override import differing
from moedesk.probe.taking.batch import arrive, in_their_rows
from moedesk.probe.taking.block import Block
from moedesk.probe.taking.overridden import Changed, Marks, rows_of, say
from moedesk.probe.taking.tap import own, small_ids
from moedesk.probe.taking.tokens import unknown_rows


@dataclass
class Arrival:
    """One call of a layer in the pass under way. Reading it waits for the device.

    Attributes
    ----------
    reached : Reached
    under_way : UnderWay
    texts : function
        Gives a text for each token id.
    overridden : Changed or None
        What overrides changed in this call.
    """

    reached: Reached
    under_way: UnderWay
    texts: Texts
    overridden: Changed | None = None

    def __post_init__(self) -> None:
        pooled = self.reached.binding.candidate.pool is not None
        self._count = self._block.rows if pooled else len(self.reached.ids)
        """T, how many token rows it has."""
        self._stack = self.under_way.stack_of(self.reached.binding)
        self.first = self.under_way.enter(self.reached.binding, self._stack, self._count)
        """Place of the first among the token rows of its stack; None if its rows are not these."""

    def changed(self, routing: Routing) -> "Arrival":
        """Return the same with another routing, which recordings are told of."""
        event, given, binding = self.reached.event, self.reached.routing, self.reached.binding
        assert given is not None
        rows, ids, weights, before = differing(given, routing), routing.ids, routing.weights.detach(), self.overridden
        if before is not None:
            rows = rows | rows_of(before.rows)
            if (
                before.ids is not None and before.weights is not None
            ):  # what was left as it was is what overrides made it
                ids = torch.where(ids == given.ids, before.ids.to(ids), ids)
                weights = torch.where(weights == given.weights, before.weights.to(weights), weights)
        changed = Changed(rows, ids, weights, () if before is None else before.by)
        say(binding.candidate.experts, changed, in_place_of_last=before is not None)
        self.under_way.overridden(binding)
        event = event._replace(ids=small_ids(routing.ids, self.layer.experts), weights=own(routing.weights))
        other = copy(self)
        for name in ("_block", "_marks", "_sieve", "is_sound", "routes"):
            vars(other).pop(name, None)
        other.reached, other.overridden = Reached.of(event, routing, self.reached.hidden, self.reached.allow), changed
        return other

    @property
    def layer(self) -> LayerInfo:
        """The layer."""
        return self.reached.binding.layer

    @property
    def routing(self) -> Routing | None:
        """What the experts will get; None where that can't be changed."""
        return self.reached.routing

    @cached_property
    def _block(self) -> Block:
        block = Block.of(self._sieve.certainty)
        block.correct(self._marks)
        opened = self.under_way.stack_of(self.reached.binding)
        return block if opened is None else in_their_rows(block, [arrive(opened.call)])

    @cached_property
    def _marks(self) -> dict[nn.Module, Marks]:
        experts = self.reached.binding.candidate.experts
        return {} if self.overridden is None else {experts: Marks([self.overridden])}

    @cached_property
    def is_sound(self) -> bool:
        """Whether its ids are those of experts; a capture leaves the layer out if not."""
        ids = self._block.ids
        return not bool(((ids >= self.layer.experts) | (ids < ABSENT)).any())

    @cached_property
    def routes(self) -> LayerRoutes:
        """What the layer did with its token rows, as in a capture."""
        padding = self.tokens["is_padding"]
        (routes,) = self._block.stack([self.layer.place], self._block.counts(padding)).layers()
        filled = routes.filled()
        for marks in self._marks.values():
            marks.mark(_given(filled.flags))
        return filled

    @cached_property
    def logits(self) -> npt.NDArray[np.float32] | None:
        """(T, E) router logits, if there are any."""
        return None if self._block.logits is None else self._block.logits[0]

    @cached_property
    def tokens(self) -> np.ndarray:
        """(T,) its token rows, dtype ``columns.TOKEN``; nothing is known of rows that are not the tokens of the call."""
        rows = None if self._stack is None else self.under_way.rows(self._stack)
        if rows is None or self.first is None:
            rows = unknown_rows(self._count)
            rows["pass"] = self.under_way.number
            return rows
        return rows[self.first : self.first + self._count]

    def number_sequences(self) -> None:
        """Give the token rows the numbers of their sequences."""
        if self._stack is not None:
            self.under_way.rows(self._stack, numbered=True)

    def could_match(self, filter: Filter) -> bool:
        """Return whether a filter may keep any of its rows, by what costs little to see."""
        kept = self._matching_tokens(filter)
        return bool(kept.any()) and (self.overridden is not None or self._sieve.lets(filter, kept))

    def has_tokens_of(self, filter: Filter) -> bool:
        """Return whether any of its tokens satisfies a filter, at whatever layer."""
        return bool(self._matching_tokens(filter).any())

    def idle(self, state: int) -> None:
        """Take note that none of its tokens can match at any layer, if it has all those of its stack."""
        if self._stack is not None and self._stack.rows is not None and self._count == len(self._stack.rows):
            self._stack.idle = state

    @cached_property
    def _sieve(self) -> Sieve:
        return Sieve(self.reached)

    def match(self, filter: Filter) -> Match:
        """Return which of its rows, and which of their slots, a filter keeps."""
        routes = self.routes
        loads = slot_loads(load_of(routes.counts)[None], _given(routes.experts)) if "loads" in filter.columns else None
        rows = LayerRows(
            self.layer, _given(routes.flags), routes.experts, routes.weights, routes.entropy, routes.margin, loads
        )
        return match_routes(filter, rows, self._matching_tokens(filter), self.tokens, self.under_way.header)

    def _matching_tokens(self, filter: Filter) -> npt.NDArray[np.bool_]:
        """(T,) which rows satisfy what needs no layer; worked out once for all layers that have the same tokens."""
        known = {} if self._stack is None else self._stack.matching
        key = filter.text, self.first, self._count
        if key not in known:
            if any(term.key == "sequence" for term in filter.terms):
                self.number_sequences()
            tokens, label = self.tokens, self.under_way.label

            def labelled(name: str) -> npt.NDArray[np.bool_]:
                return np.full(len(tokens), name == label)

            known[key] = match_tokens(filter, tokens, self.under_way.header, self.texts, labelled)
        return known[key]

    def slot(self, row: int, slots: npt.NDArray[np.bool_] | None = None) -> int:
        """Return the slot of a row with the largest weight, of those in the mask; -1 if it has no expert."""
        experts, weights = _given(self.routes.experts)[row], _given(self.routes.weights)[row]
        wanted = (experts >= 0) if slots is None else slots
        if not wanted.any():
            return -1
        return int(np.where(wanted, np.nan_to_num(weights, nan=-np.inf), -np.inf).argmax())

    def place_of(self, row: int) -> int | None:
        """Return where a token row is among the rows that the layer was called with; None if it was not."""
        called = len(self.reached.ids)
        if called == self._block.rows:
            return row
        seen = self._block.ids[0, :, 0] != ABSENT
        return int(seen[:row].sum()) if seen[row] and int(seen.sum()) == called else None

    def hidden(self) -> Tensor | None:
        """Return what the experts (or the layer) were given, a row for each that it was called with, on its device."""
        hidden = self.reached.hidden
        if hidden is None or hidden.ndim < 2:
            return None
        flat = hidden.detach().reshape(-1, hidden.shape[-1])
        return flat if len(flat) == len(self.reached.ids) and torch.is_floating_point(flat) else None


def _given(column: npt.NDArray | None) -> npt.NDArray:
    assert column is not None
    return column
