"""How many experts a token has: the numbers in a layer's modules that say so, changed while the layer runs."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.routing import read_routing
from moedesk.probe.overriding.forward_around import ForwardAround

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


def slots_holders(binding: Binding) -> tuple[nn.Module, ...]:
    """Return the modules while whose forward runs these attributes have to hold another number.

    The block; and what holds the block, where an adapter reads the routing behind the block's call, by these attributes (Doge).
    That alone would not do: gradient checkpointing runs what is inside its forward again.
    """
    candidate, adapter = binding.candidate, binding.adapter
    read_behind = adapter is not None and adapter.when == "after" and binding.hooked is candidate.block
    around = candidate.around if read_behind else None
    return (candidate.block,) if around is None else (candidate.block, around)


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


class SlotsTrial:
    """Tries one layer with another number of slots, and sees how many its experts get.

    Attributes
    ----------
    binding : Binding
    found : int
        Slots a token in the last call; 0 without one.
    """

    def __init__(self, binding: Binding, number: int) -> None:
        self.binding, self._number = binding, number
        self.found = 0

    def attach(self) -> None:
        """Set the number, and watch."""
        binding, counts = self.binding, slot_counts(self.binding)

        def run(inner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            with with_slots(counts, self._number):
                return inner(*args, **kwargs)

        def read(module: nn.Module, args: Any, *rest: Any) -> None:
            adapter = binding.adapter
            if adapter is None:
                call = read_routing(args, rest[0])
                self.found = 0 if call is None else call.top_k
            else:
                routing = adapter.routing(module, args, rest[0], rest[1] if len(rest) > 1 else None)
                self.found = 0 if routing is None else int(routing.ids.shape[-1])

        before = binding.adapter is None or binding.adapter.when == "before"
        hook = binding.hooked.register_forward_pre_hook if before else binding.hooked.register_forward_hook
        self._handle = hook(read, with_kwargs=True)
        self._arounds = [ForwardAround(module, run) for module in slots_holders(binding)]

    def detach(self) -> None:
        """Leave the modules as they were."""
        self._handle.remove()
        for around in reversed(self._arounds):
            around.remove()
