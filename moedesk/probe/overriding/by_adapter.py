"""Overrides of the score where an adapter says how its block chooses: no module of the block goes from logits to the choice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.adapters.adapter import Routing, flat
from moedesk.probe.finding.binding import Binding
from moedesk.probe.overriding.reselection import Reselection
from moedesk.probe.overriding.score_edit import ScoreEdit
from moedesk.probe.overriding.way import SelectionCall, Way


def unchanged(logits: Tensor) -> Tensor:
    """Return the logits as they are."""
    return logits


@dataclass(frozen=True)
class AdaptedCall:
    """One call of the module that an adapter reads.

    Attributes
    ----------
    binding : Binding
        Of a layer whose adapter has a ``select``.
    args, kwargs, output
        Of the call.
    """

    binding: Binding
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Any

    def select(self, edit: Callable[[Tensor], Tensor]) -> Routing:
        """Return what the block would choose if its logits were what ``edit`` makes of them."""
        adapter = self.binding.adapter
        assert adapter is not None
        assert adapter.select is not None
        return flat(adapter.select(self.binding.hooked, self.args, self.kwargs, self.output, edit), graph=True)

    def reselected(self, way: Way, edits: Sequence[ScoreEdit]) -> Routing:
        """Return what the block would choose with these edits."""
        selection = Reselection(way, edits)
        with selection:
            return self.select(selection.begin)


def adapted_way(binding: Binding, seen: SelectionCall) -> Way:
    """Return where the score of such a layer is changed, tried on one call.

    Raises
    ------
    MoedeskError
        If what the adapter selects is not what the block does.
    """
    adapter, layer = binding.adapter, binding.layer
    assert adapter is not None
    call = AdaptedCall(binding, seen.args, seen.kwargs, seen.output)
    routing = adapter.routing(binding.hooked, seen.args, seen.kwargs, seen.output)
    plain = call.select(unchanged)
    if routing is None or not _same(routing, plain):
        raise MoedeskError("its adapter's select= gives another choice than the block")
    way = Way(binding.hooked, "", 0, layer.experts, layer.experts, frozenset({0}), True, None, by_adapter=True)
    best, rare = _most_and_least(routing.ids, layer.experts)
    without = call.reselected(way, [ScoreEdit(Override(OverrideKind.EXCLUDE, experts=(best,)))])
    if layer.experts > layer.top_k and bool((without.ids == best).any()):
        raise MoedeskError("its choice doesn't follow its logits")
    forced = call.reselected(way, [ScoreEdit(Override(OverrideKind.FORCE, experts=(rare,)))])
    if not bool((forced.ids == rare).any(-1).all()):
        raise MoedeskError("its choice is the best of no ranking in its adapter's select=")
    return way


def _same(one: Routing, other: Routing) -> bool:
    """Whether each row has the same experts with the same weights, in whatever slots."""
    (ids, order), (other_ids, other_order) = one.ids.sort(-1), other.ids.sort(-1)
    weights, others = one.weights.gather(-1, order), other.weights.detach().gather(-1, other_order)
    return torch.equal(ids, other_ids) and torch.equal(weights, others)


def _most_and_least(ids: Tensor, experts: int) -> tuple[int, int]:
    counts = ids[ids >= 0].bincount(minlength=experts)
    return int(counts.argmax()), int(counts.argmin())
