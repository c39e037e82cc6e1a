"""How a layer's own selection comes from logits to experts, found out and tried: where overrides of the score act."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moedesk.core.errors import MoedeskError
from moedesk.probe.finding.binding import Binding
from moedesk.probe.overriding.operations import OperationLog, Wide, same_values


@dataclass(frozen=True)
class Lookup:
    """An operation that gives the ids, and ranks nothing: the ``nth`` of this name with so many columns of integers."""

    name: str
    nth: int
    columns: int


@dataclass(frozen=True, eq=False)
class Way:
    """Where the selection of a layer is changed.

    Attributes
    ----------
    module : Module
        Whose forward selects.
    operation : str
    nth : int
        The operation that gives the logits: the nth of this name and width.
    width : int
        Columns of the logits; those behind the experts' are of shared ones.
    experts : int
    deciding : frozenset of int
        Which of the rankings of all experts give the ids; empty if none does.
    in_turn : bool
        Whether each of these gives one slot, the first the first, instead of all.
    follows : bool
        Whether what runs follows the choice that the score decides; if not, only the weights follow the score.
    within : bool
        Whether the module is the whole block, and the choice is made on the way to its experts.
    by_adapter : bool
        Whether the adapter's ``select`` chooses, and not the module.
    table : Lookup or None
        What gives the ids where they are looked up, whatever the score.
    shares : bool
        Whether scores are shares of a whole, or logits: an expert with the logit -inf then has none, in groups as well.
    places : (int, int) or None
        Of ids and weights in the module's output; None where an adapter reads them.
    """

    module: nn.Module
    operation: str
    nth: int
    width: int
    experts: int
    deciding: frozenset[int]
    shares: bool
    places: tuple[int, int] | None
    in_turn: bool = False
    follows: bool = True
    within: bool = False
    by_adapter: bool = False
    table: Lookup | None = None

    @property
    def choosable(self) -> bool:
        """Whether experts of one's own can be chosen where the ids are made."""
        return bool(self.deciding) or self.table is not None


@dataclass(frozen=True, eq=False)
class SelectionCall:
    """One call of what selects, while it was watched.

    Attributes
    ----------
    log : OperationLog
    args, kwargs, output
    ids, weights : tensor
        As the experts got them, the very tensors.
    """

    log: OperationLog
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Any
    choice: Tensor
    weights: Tensor


def find_way(
    binding: Binding, module: nn.Module, seen: SelectionCall, ids: Tensor, logits: Tensor, within: bool = False
) -> Way:
    """Work out a layer's way from one call.

    Parameters
    ----------
    ids : (N, k) int64 tensor
    logits : (N, E) tensor
        As moedesk reads them.
    within : bool
        Whether the module is a block that calls its experts itself.

    Raises
    ------
    MoedeskError
        If it can't be told with certainty, in a few words.
    """
    experts = int(logits.shape[-1])
    found = _logits_operation(binding, seen.log, logits)
    transform = binding.rule.transform if binding.rule is not None else ""
    shares = transform in ("softmax", "logits") and not (binding.rule is not None and binding.rule.biased)
    deciding = _deciding(seen.log, ids)
    turns = () if deciding else _turns(seen.log, ids)
    return Way(
        module,
        found.name,
        found.nth,
        int(found.value.shape[-1]),
        experts,
        deciding or frozenset(turns),
        shares,
        None if binding.adapter is not None or within else _places(seen),
        in_turn=bool(turns),
        within=within,
        table=_lookup(seen.log, ids) if binding.layer.selection == "hash" else None,
    )


def _logits_operation(binding: Binding, log: OperationLog, logits: Tensor) -> Wide:
    """The first operation that gave the logits."""
    values = logits
    if binding.probabilities:
        values = next((given for made, given in log.sources if same_values(made, logits)), logits[:0])
    columns = int(logits.shape[-1])
    for wide in log.wide:
        if wide.value[..., :columns].numel() == values.numel() and same_values(wide.value[..., :columns], values):
            return wide
    raise MoedeskError("no operation of its router gives its logits")


def _deciding(log: OperationLog, ids: Tensor) -> frozenset[int]:
    """The rankings of all experts whose first k are the ids, dropped slots aside."""
    kept = ids >= 0
    found = set()
    for ranked in log.ranked:
        best = ranked.indices.reshape(len(ids), -1) if ranked.indices.numel() % len(ids) == 0 else None
        if ranked.ranking.grouped or best is None or best.shape[1] < ids.shape[1]:
            continue
        best = best[:, : ids.shape[1]]
        if torch.equal(best.masked_fill(~kept, -1), ids.masked_fill(~kept, -1)):
            found.add(ranked.nth)
    return frozenset(found)


def _turns(log: OperationLog, ids: Tensor) -> tuple[int, ...]:
    """The rankings of all experts that give a slot each, if they are all the rankings there are and come in the slots' order."""
    slots = [slot for slot in ids.T if slot.numel()]
    if len(log.ranked) != len(slots):
        return ()
    for ranked, slot in zip(log.ranked, slots, strict=True):
        if (
            ranked.ranking.grouped
            or ranked.indices.numel() != slot.numel()
            or not torch.equal(ranked.indices.view(-1), slot)
        ):
            return ()
    return tuple(ranked.nth for ranked in log.ranked)


def _lookup(log: OperationLog, ids: Tensor) -> Lookup | None:
    """The first operation that gave the ids."""
    for whole in log.integers:
        if whole.value.numel() == ids.numel() and torch.equal(whole.value.reshape(ids.shape).long(), ids):
            return Lookup(whole.name, whole.nth, int(whole.value.shape[-1]))
    return None


def _places(seen: SelectionCall) -> tuple[int, int]:
    """Places of ids and weights in what the module returned."""
    values = seen.output if isinstance(seen.output, tuple | list) else (seen.output,)
    places = []
    for tensor in (seen.choice, seen.weights):
        same = [at for at, value in enumerate(values) if isinstance(value, Tensor) and _is(value, tensor)]
        if len(same) != 1:
            raise MoedeskError("its router doesn't return what its experts get")
        places.append(same[0])
    return places[0], places[1]


def _is(value: Tensor, tensor: Tensor) -> bool:
    """Whether two tensors are the same memory, or one is a copy in another dtype or shape."""
    if value.data_ptr() == tensor.data_ptr() and value.numel() == tensor.numel():
        return True
    return value.is_floating_point() == tensor.is_floating_point() and same_values(value, tensor)
