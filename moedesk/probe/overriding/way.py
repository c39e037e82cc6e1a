"""How a layer's own selection comes from logits to experts, found out and tried: where overrides of the score act."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from moedesk.core.errors import MoedeskError
from moedesk.probe.finding.binding import Binding
from moedesk.probe.overriding.by_name import ByName, by_name, function_of
from moedesk.probe.overriding.operations import RANKERS, OperationLog, Wide, is_wide, same_values

if TYPE_CHECKING:
    from moedesk.probe.overriding.comparison import Comparison


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
    by_name : ByName or None
        Runs the module's forward, if its own code names the function that gives the logits.
    ranks_by_name : bool
        Whether it also names those that rank.
    call : int
        Of such a run: the logits come from the nth call of their operation, counted from 1.
    logits_at : int or None
        Of such a run: the place of the very logits in what is returned, if nothing wrote to them.
    told : bool
        Whether the only ranking tells all: rows in which it chooses the same experts have the same weights.
    compares : Comparison or None
        Of such a run: tells from the logits alone which rows were changed, of all layers that are alike together.
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
    by_name: ByName | None = None
    ranks_by_name: bool = False
    call: int = 0
    logits_at: int | None = None
    told: bool = False
    compares: "Comparison | None" = None

    @property
    def choosable(self) -> bool:
        """Whether experts of one's own can be chosen where the ids are made."""
        return bool(self.deciding) or self.table is not None

    @property
    def names(self) -> frozenset[str]:
        """Of the functions that matter."""
        return RANKERS | {self.operation}

    def wide(self, output: Any) -> bool:
        """Return whether a result of the operation has the form of the logits."""
        return is_wide(self.operation, output, self.experts) and output.shape[-1] == self.width


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


@torch.no_grad()
def named(way: Way, seen: SelectionCall) -> Way:
    """Return the way with what a run of its forward by name shows, if that is the same as all operations showed."""
    function = function_of(way.module.forward)
    if function is None or way.in_turn or way.table is not None:
        return way
    log, made = OperationLog(way.experts), []

    def take(name: str, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        output = log.take(name, func, args, kwargs)
        if name == way.operation:
            made.append(output)
        return output

    run = by_name(function, way.names)
    output = run.run(way.module, take, seen.args, seen.kwargs)
    wide = [[one.nth for one in kept.wide if one.name == way.operation] for kept in (log, seen.log)]
    ranked = [[(one.ranking, one.nth) for one in kept.ranked] for kept in (log, seen.log)]
    if wide[0] != wide[1]:
        return way
    call = [n for n, tensor in enumerate(made) if way.wide(tensor)][way.nth]
    values = output if isinstance(output, tuple | list) else ()
    at = next((n for n, value in enumerate(values) if value is made[call] and never_written(value)), None)
    return replace(way, by_name=run, ranks_by_name=ranked[0] == ranked[1], call=call + 1, logits_at=at)


def never_written(tensor: Tensor) -> bool:
    """Whether nothing wrote to a tensor since an operation returned it, as far as PyTorch counts that."""
    return tensor.is_inference() or tensor._version == 0


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
