"""ZAYA: its router has one class more than there are experts: skip. The experts get (id 0, weight 0) for it.

It is recorded as one more expert, the last: it computes nothing, and its weight is 0. So expert 0 isn't taken for busy, and a
skip isn't taken for a drop.
"""

from collections.abc import Mapping
from typing import Any

from moedesk.probe.adapter import Adapter, Routing


def read(router: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Routing:
    """Read the router's ids; a softmax is never exactly 0 where it is the largest, so weight 0 is the skip."""
    logits, weights, ids, _ = output
    return Routing(ids.masked_fill(weights == 0, router.num_experts), weights, logits)


ADAPTERS = (
    Adapter(
        "zaya", ("ZayaSparseMoeBlock",), read, hook="gate", router="gate", experts="experts",
        n_experts=lambda block: block.gate.num_experts + 1, identity=1, post_scale=1.0,
    ),
)  # fmt: skip
