"""How many experts a token has: the numbers in a layer's modules that say so, changed while the layer runs."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moedesk.probe.finding.binding import Binding

_NAME = re.compile(r"top_?k|per_tok|moe_k$|^k$|selected_experts|activated_experts|experts_per")
_OTHER = re.compile(r"group|method|norm|prob|scal")


def slot_counts(binding: Binding) -> list[tuple[Any, str]]:
    """Return the attributes of a block's modules and of their configurations that hold its number of slots."""
    block, found = binding.candidate.block, []
    holders: dict[int, Any] = {}
    for module in block.modules():
        holders[id(module)] = module
        config = getattr(module, "config", None)
        if config is not None:
            holders[id(config)] = config
    for holder in holders.values():
        for name, value in vars(holder).items():
            if type(value) is int and value == binding.layer.top_k and _NAME.search(name) and not _OTHER.search(name):
                found.append((holder, name))
    return found


@contextmanager
def with_slots(counts: list[tuple[Any, str]], number: int) -> Iterator[None]:
    """Have these attributes hold another number in the block."""
    before = [(holder, name, vars(holder)[name]) for holder, name in counts]
    try:
        for holder, name in counts:
            vars(holder)[name] = number
        yield
    finally:
        for holder, name, value in before:
            vars(holder)[name] = value
