"""NLLB-MoE, as transformers executes it: its experts take the router's mask of ones and zeros for expert numbers.

So every token goes to expert 1 with its first weight and to expert 0 with its second one, whatever the router chose. That is what
ran, so that is what is recorded; the logits are the router's own and show what was meant.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from moedesk.probe.adapters.adapter import Adapter, Routing


def read(router: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Routing:
    """Read, for the two places with a weight, the number in the mask: that expert is what runs."""
    mask, probabilities, logits = output
    weights, places = probabilities.topk(2, dim=-1)
    return Routing(mask.gather(-1, places).masked_fill(weights == 0, -1), weights, logits)


def write(router: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, routing: Routing) -> Any:
    """Return the router's output with other numbers and weights at its two places; what is dropped has no weight."""
    mask, probabilities, logits = output
    places = probabilities.topk(2, dim=-1).indices
    weights = routing.weights.to(probabilities).masked_fill(routing.ids < 0, 0)
    numbers = routing.ids.clamp(min=0).to(mask)
    return mask.scatter(-1, places, numbers), probabilities.scatter(-1, places, weights), logits


def run_expert(block: Any, expert: int, rows: Tensor) -> Tensor:
    """Run one expert, without the share that is taken off its output."""
    return block.experts[f"expert_{expert}"](rows)


ADAPTERS = (
    Adapter(
        "nllb_moe", ("NllbMoeSparseMLP",), read, hook="router", router="router", experts="experts", write=write,
        run_expert=run_expert,
        n_experts=lambda block: block.num_experts, score="unknown",
        post_scale=lambda block: 1 - block.experts.moe_token_dropout,
        note="transformers runs expert 1 with the first and expert 0 with the second weight of every token of NLLB-MoE, whatever "
        "the router chose; recorded is what ran, the logits show what was meant",
    ),
)  # fmt: skip
