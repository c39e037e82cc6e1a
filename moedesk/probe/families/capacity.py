"""GShard's MoE layer as DeepSpeed, FairScale and fairseq have it: its gate hands out combine weights (tokens, E, capacity)."""

from typing import Any

from torch import Tensor

from moedesk.probe.adapter import Adapter

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
        run_expert=_run,
    ),
)
