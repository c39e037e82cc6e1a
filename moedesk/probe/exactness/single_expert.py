"""One expert of a layer alone: run on rows of one's choice, or left out of the layer's output."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from moedesk.core.errors import MoedeskError
from moedesk.probe.exactness.replay import Replay
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.parts import first_tensor
from moedesk.probe.overriding.rerouting import Rerouting, can_reroute, switch_off
from moedesk.probe.training.gradients import expert_modules
from moedesk.probe.watched.watch import experts_of

RunOne = Callable[[int, Tensor], Tensor]
"""Takes an expert's number and (N, H) rows; returns its (N, D) output without a gate weight."""

LeaveOut = Callable[[int], Any]
"""Takes an expert's number; returns a context in which the layer gets nothing of it."""


def expert_runner(binding: Binding) -> RunOne | None:
    """Return what runs one expert of a layer with an adapter: its ``run_expert``, or the expert's module; None without."""
    adapter, block = binding.adapter, binding.candidate.block
    if adapter is not None and adapter.run_expert is not None:
        run_expert = adapter.run_expert
        return lambda number, rows: run_expert(block, number, rows)
    modules = modules_of(binding)
    if not modules:
        return None

    def run(number: int, rows: Tensor) -> Tensor:
        output = first_tensor(modules[number](rows))
        if output is None:
            raise MoedeskError(f"expert {number} returns no tensor")
        return output

    return run


def expert_switch(binding: Binding) -> LeaveOut | None:
    """Return what switches one expert of a layer with an adapter off: by its weight, or its module's output; None without."""
    if can_reroute(binding):
        return lambda number: Rerouting(binding, switch_off([number]))
    modules = modules_of(binding)
    return (lambda number: silenced(modules[number])) if modules else None


def modules_of(binding: Binding) -> Sequence[nn.Module]:
    """Return the modules of a layer's experts by number; empty if they have none of their own."""
    if binding.plan is not None:
        return experts_of(binding.candidate.experts)
    numbered = expert_modules(binding)
    return [numbered[number] for number in sorted(numbered)] if len(numbered) == binding.layer.experts else ()


@contextmanager
def silenced(module: nn.Module) -> Iterator[None]:
    """Have a module return zeros in the block."""
    handle = module.register_forward_hook(lambda module, args, output: _nothing(output))
    try:
        yield
    finally:
        handle.remove()


def _nothing(output: Any) -> Any:
    if isinstance(output, Tensor):
        return torch.zeros_like(output)
    return type(output)(map(_nothing, output)) if type(output) in (tuple, list) else output


def replay_alone(run: RunOne, rows: Tensor, ids: Tensor, weights: Tensor, weighs: str) -> Replay:
    """Run each expert on the rows that chose it, and add up with the captured weights.

    Parameters
    ----------
    run : function
    rows : (N, H) tensor
        What the experts got.
    ids : (N, k) int64
        As captured; negative for a slot without an expert.
    weights : (N, k) float
    weighs : {"outputs", "inputs"}
        What the weights multiply.

    Raises
    ------
    MoedeskError
        If an expert returns other rows than it got.
    """
    total: Tensor | None = None
    sizes = torch.zeros(ids.shape, dtype=torch.float64)
    for number in ids[ids >= 0].unique().tolist():
        row, slot = torch.where((ids == number) & (weights != 0))
        if not len(row):
            continue
        weight = weights[row, slot].unsqueeze(-1)
        given = rows[row] * weight.to(rows.dtype) if weighs == "inputs" else rows[row]
        output = run(number, given).detach()
        if output.ndim != 2 or len(output) != len(row):
            raise MoedeskError(f"expert {number} was given {len(row)} rows and returned {tuple(output.shape)}")
        part = output.cpu().double() * (1 if weighs == "inputs" else weight.cpu().double())
        if total is None:
            total = torch.zeros(len(rows), part.shape[-1], dtype=torch.float64)
        total.index_add_(0, row.cpu(), part)
        sizes[row.cpu(), slot.cpu()] = part.abs().amax(-1)
    if total is None:
        raise MoedeskError("no expert ran on any row")
    return Replay(total, sizes)
