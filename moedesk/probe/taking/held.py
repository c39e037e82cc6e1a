"""The routing of a short pass, held while the pass runs and copied at its end, all layers in one go.

A hook that copies takes 20 µs when the model has just filled the caches with its own code, however few bytes it copies; at the
end of a pass the copies of all layers together take 50. A tensor that is held may change before it is copied. PyTorch counts
changes (views share the counter of what they are views of), so that is noticed: the pass is dropped and counted, and the layer
copied in its hooks from then on. The counter misses writes through ``tensor.data``, NumPy and other raw pointers, and inference
tensors have none. So tensors are held only outside inference mode, and only for blocks, experts and routers of transformers
itself, which write in no such way; for any other module, hooks copy.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from moedesk.probe.finding.binding import Binding
from moedesk.probe.taking.event import Calls, Stack, in_order

FEW = 64
"""Rows up to which a pass is short: what is held of it takes no room, and copying that no time."""

_INTEGERS = {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8}


class Source:
    """One layer's hooks.

    Attributes
    ----------
    binding : Binding
    trusted : bool
        Whether what they are given may be held.
    """

    __slots__ = ("binding", "trusted")

    def __init__(self, binding: Binding) -> None:
        self.binding = binding
        candidate, router = binding.candidate, binding.router
        modules = [candidate.block, candidate.experts, *([] if router is None else [router])]
        self.trusted = all(type(module).__module__.startswith("transformers.models.") for module in modules)


HeldLogits = tuple[Tensor, int, Tensor | None, int]
"""Logits and their version; the router's bias, if it has one, and its version."""

Hold = tuple[Source, Tensor, int, Tensor, int, HeldLogits | None]
"""What the hooks of one layer were given in one call: ids and weights, each with its version, and logits."""


def copied(holds: Sequence[Hold]) -> tuple[list[Stack], list[Source]]:
    """Return copies of what is held, layers that are alike together, and the layers whose tensors are not what they were."""
    groups: dict[tuple[object, ...], list[Hold]] = {}
    calls = Calls()
    for hold in holds:
        source, ids = hold[:2]
        key = calls.number(source), source.binding.kind, ids.shape, ids.device, hold[5] is None
        groups.setdefault(key, []).append(hold)
    stacks, changed = [], []
    with torch.no_grad():
        for group in in_order(groups):
            stack = _stacked(group)
            if stack is None:
                changed += [hold[0] for hold in group]
            else:
                stacks.append(stack)
    for source, ids, ids_version, weights, weights_version, held in holds:
        if ids._version != ids_version or weights._version != weights_version:
            changed.append(source)
        elif held is not None:
            logits, version, bias, bias_version = held
            if logits._version != version or (bias is not None and bias._version != bias_version):
                changed.append(source)
    return stacks, changed


def _stacked(group: Sequence[Hold]) -> Stack | None:
    """The copies of alike layers, or None if they are no routing."""
    sources, ids, _, weights, _, held = zip(*group, strict=True)
    bindings = tuple([source.binding for source in sources])
    logits, biases = [], []
    if held[0] is not None:
        logits = [values[0] for values in held]
        biases = [values[2] for values in held if values[2] is not None]
    try:
        stack = Stack.stacked(bindings, ids, weights, logits, biases)
    except RuntimeError:  # they differ in shape
        return None
    assert stack.weights is not None
    shape = stack.ids.shape
    if len(shape) != 3 or shape != stack.weights.shape or shape[2] != bindings[0].layer.top_k:
        return None
    return stack if stack.ids.dtype in _INTEGERS and stack.weights.is_floating_point() else None
