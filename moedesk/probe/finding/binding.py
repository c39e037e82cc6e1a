"""One MoE layer, bound to what reads it."""

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from moedesk.core.model import LayerInfo
from moedesk.probe.adapters.adapter import Adapter
from moedesk.probe.finding.discovery import Candidate
from moedesk.probe.finding.ranking import Rule

if TYPE_CHECKING:
    from moedesk.probe.watched.plan import Plan


@dataclass(frozen=True)
class Binding:
    """One MoE layer, bound: where to hook and how to read what comes.

    Attributes
    ----------
    layer : LayerInfo
    candidate : Candidate
    router : Module or None
        Its output holds the logits; None if no module emits them, or an adapter reads them.
    logits_at : int
        Place of the logits in that output; -1 if the output is the logits.
    probabilities : bool
        Whether those "logits" are probabilities (rows that sum to 1).
    rule : Rule or None
        What the router ranks by.
    bias : (Module, str) or None
        Where the rule's bias is read, live.
    plan : Plan or None
        Where a block whose routing passes through no module calculates it.
    """

    layer: LayerInfo
    candidate: Candidate
    router: nn.Module | None = None
    logits_at: int = -1
    probabilities: bool = False
    rule: Rule | None = None
    bias: tuple[nn.Module, str] | None = None
    plan: "Plan | None" = None

    @property
    def adapter(self) -> Adapter | None:
        """What reads the layer; None for the generic rule."""
        return self.candidate.adapter

    @property
    def hooked(self) -> nn.Module:
        """The module whose call is read."""
        adapter = self.adapter
        return self.candidate.experts if adapter is None else adapter.module(self.candidate.block, adapter.hook)

    def logits(self, output: Any) -> Tensor | None:
        """Return the (N, E) logits in an output of ``router``, detached but not copied."""
        value = output[self.logits_at] if isinstance(output, tuple | list) and self.logits_at >= 0 else output
        return value.detach().reshape(-1, value.shape[-1]) if isinstance(value, Tensor) else None

    @cached_property
    def kind(self) -> object:
        """The same object for layers whose routing can be stacked and reduced together."""
        layer = self.layer
        pool, generic = self.candidate.pool, self.adapter is None
        return _kind(self.rule, self.probabilities, layer.experts, layer.stream, layer.selection, generic, pool)

    def placed(self, place: int) -> "Binding":
        """Return the same with the layer's place."""
        return replace(self, layer=replace(self.layer, place=place))


@cache
def _kind(*alike: object) -> object:
    return object()


@dataclass(frozen=True)
class Taken:
    """The routing of one call of a layer's experts: copies of ids (N, k), weights (N, k), and logits (N, E) if it has some."""

    ids: Tensor
    weights: Tensor
    logits: Tensor | None


@dataclass(frozen=True)
class FirstCall:
    """What a scout saw: the binding, and the routing of each call of its experts within that of the block."""

    binding: Binding
    calls: tuple[Taken, ...]
