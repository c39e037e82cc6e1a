"""GShard's MoE layer as DeepSpeed, FairScale and fairseq have it: its gate hands out combine weights (tokens, E, capacity)."""

from typing import Any

import torch
from torch import Tensor

from moedesk.core.errors import MoedeskError
from moedesk.probe.adapters.adapter import Adapter, Routing
from moedesk.probe.adapters.dense_routing import chosen_of

_SLOTS = {"Top1Gate": 1, "Top2Gate": 2}


def _experts(block: Any) -> int:
    """Experts on all ranks: the gate has a row for each; ``block.experts`` holds those of this rank."""
    return int(block.gate.wg.weight.shape[0])


def _slots(block: Any) -> int | None:
    """Slots a token, by the gate's ``k``, or by its class where that fixes it."""
    found = getattr(block.gate, "k", None) or _SLOTS.get(type(block.gate).__name__)
    return int(found) if found else None


def _run(block: Any, number: int, rows: Tensor) -> Tensor:
    """One expert; those of other ranks are not here."""
    inner = getattr(block.experts, "deepspeed_experts", block.experts)
    output = inner[number](rows)
    return output[0] if isinstance(output, tuple) else output


def _write(gate: Any, args: Any, kwargs: Any, output: Any, wanted: Routing) -> Any:
    """The gate's output with other weights; a token keeps the places it has, and can't be sent to an expert it has none at."""
    loss, combine, dispatch, *rest = output
    before = combine.sum(-1)
    after = chosen_of(wanted.ids, wanted.weights.to(before.dtype), before.shape[-1])
    if bool(((after != 0) & (before == 0)).any()):
        raise MoedeskError("a token can't be sent to an expert in whose capacity it has no place")
    factor = torch.where(before != 0, after / before, 0).unsqueeze(-1)
    return (loss, combine * factor, dispatch & (factor != 0), *rest)


ADAPTERS = (
    Adapter(
        "GShard MOELayer",
        ("MOELayer",),
        hook="gate",
        logits="gate.wg",
        router="gate",
        experts="experts",
        n_experts=_experts,
        top_k=_slots,
        write=_write,
        run_expert=_run,
    ),
)
