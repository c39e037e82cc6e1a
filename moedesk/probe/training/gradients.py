"""The gradients of one MoE layer as the optimizer gets them: norms by expert, of the router, of shared experts.

All of it runs on the parameters' device, in the model's stream; nothing waits.
"""

import re
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.parts import is_shared
from moedesk.probe.taking.parallel import is_spread

_NUMBER = re.compile(r"(?:^|_)(\d+)$")


class Norms(NamedTuple):
    """Some norms of a layer's gradients; several of one part are joined by the root of the sum of their squares.

    Attributes
    ----------
    path : str
        Of the experts module.
    part : str
        ``gradients``, ``router`` or ``shared``.
    places : tuple of int
        The experts that the values belong to; (0,) for router and shared experts.
    values : float tensor
        As many; perhaps still on their way to the host.
    """

    path: str
    part: str
    places: tuple[int, ...]
    values: Tensor


class _Group(NamedTuple):
    """Parameters whose gradients are measured together: all of ``module``'s, which may be replaced meanwhile."""

    part: str
    place: int
    module: nn.Module


class LayerGradients:
    """Where the parameters of one layer are.

    Parameters
    ----------
    binding : Binding
    model : Module
        Knows the router by its path where the binding has none.

    Attributes
    ----------
    notes : list of str
        What can't be measured, and why.
    """

    def __init__(self, binding: Binding, model: nn.Module) -> None:
        self.notes: list[str] = []
        self._path, self._label = binding.candidate.path, binding.layer.path
        self._experts = binding.layer.experts
        self._module = binding.candidate.experts
        numbered = expert_modules(binding)
        missing = missing_experts(binding)
        if missing:
            self._note(f"{self._label}: {missing}; no gradient norms of them")
            numbered = {}
        # An adapter may name no module of experts: then they lie in stacked parameters of the block's own, if anywhere.
        self._own = self._module is binding.candidate.block
        self._stacked = not numbered and not missing
        if self._stacked and self._own and not any(p.ndim == 3 for p in self._module.parameters(recurse=False)):
            self._note(
                f"{self._label}: its adapter doesn't say where its experts are (experts=); no gradient norms of them"
            )
        self._groups = [_Group("gradients", place, module) for place, module in numbered.items()]
        router = binding.router or (
            model.get_submodule(binding.layer.router_path) if binding.layer.router_path else None
        )
        if router is not None and not any(_holds(router, part) for part in (self._module, *numbered.values())):
            self._groups.append(_Group("router", 0, router))
        for name, child in binding.candidate.block.named_children():
            if is_shared(name):
                self._groups.append(_Group("shared", 0, child))

    def read(self, mine: Collection[int], scale: Tensor | None) -> Iterator[Norms]:
        """Measure the gradients of those parameters whose ``id`` is in ``mine``.

        Parameters
        ----------
        mine : collection of int
            Of the parameters that the optimizer is about to change.
        scale : tensor or None
            What the gradients are still multiplied with (a gradient scaler and a fused optimizer).
        """
        if self._stacked:
            yield from self._read_stacks(mine, scale)
        found = [(group, self._gradients(group.module, mine)) for group in self._groups]
        taken = [(group, gradients) for group, gradients in found if gradients]
        for part in ("gradients", "router", "shared"):
            some = [
                (group.place, gradient) for group, gradients in taken if group.part == part for gradient in gradients
            ]
            if some:
                norms = torch.stack([norm.float() for norm in torch._foreach_norm([gradient for _, gradient in some])])
                yield Norms(self._path, part, tuple(place for place, _ in some), _unscaled(norms, scale))
        unused = [group.place for group, gradients in found if group.part == "gradients" and gradients == []]
        if unused and any(group.part == "gradients" for group, _ in taken):
            yield Norms(self._path, "gradients", tuple(unused), torch.zeros(len(unused)))

    def _read_stacks(self, mine: Collection[int], scale: Tensor | None) -> Iterator[Norms]:
        for name, parameter in self._module.named_parameters(recurse=not self._own):
            if id(parameter) not in mine or not parameter.requires_grad or (self._own and parameter.ndim != 3):
                continue
            gradient = self._plain(name, parameter)
            if gradient is None:
                continue
            rows = stacked_rows(self._module, name, gradient, self._experts)
            if rows is None:
                self._note(f"{self._label}: {name} of its experts belongs to no one expert; no part of gradient norms")
                continue
            norms = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32)
            yield Norms(self._path, "gradients", tuple(range(len(rows))), _unscaled(norms, scale))

    def _gradients(self, module: nn.Module, mine: Collection[int]) -> list[Tensor] | None:
        """Gradients of a module's parameters, empty if it got none; None if it is frozen, or can't be known."""
        trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad and id(p) in mine]
        if not trained:
            return None
        if any(is_spread(parameter) for _, parameter in trained):
            self._plain(*trained[0])
            return None
        found = [self._plain(name, parameter) for name, parameter in trained]
        return [gradient for gradient in found if gradient is not None]

    def _plain(self, name: str, parameter: nn.Parameter) -> Tensor | None:
        """A parameter's gradient, if all of it is here."""
        gradient = parameter.grad
        if is_spread(parameter) or (gradient is not None and gradient.shape != parameter.shape):
            self._note(f"{self._label}: gradients are spread over processes; their norms are left out")
            return None
        return None if gradient is None or gradient.layout is not torch.strided else gradient.detach()

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)


def expert_modules(binding: Binding) -> dict[int, nn.Module]:
    """Return the modules of a layer's single experts by number; empty if they lie in stacked parameters."""
    experts = binding.candidate.experts
    if experts is binding.candidate.block:
        lists = [child for child in experts.children() if isinstance(child, nn.ModuleList)]
        fitting = [modules for modules in lists if len(modules) == binding.layer.experts]
        return dict(enumerate(fitting[0])) if len(fitting) == 1 else {}
    numbers = {int(match[1]): child for name, child in experts.named_children() if (match := _NUMBER.search(name))}
    whole = numbers and len(numbers) == sum(1 for _ in experts.children()) and sorted(numbers) == [*range(len(numbers))]
    return numbers if whole and not any(True for _ in experts.parameters(recurse=False)) else {}


def missing_experts(binding: Binding) -> str:
    """Return that experts of a layer are not here, as a half-sentence; empty if all are.

    Under expert parallelism a process holds some of them, and counts these from 0.
    """
    experts, needed = binding.candidate.experts, binding.layer.experts - binding.layer.identity
    here = [p.shape[0] for p in experts.parameters(recurse=False) if p.ndim == 3] or [len(expert_modules(binding))]
    return f"only {max(here)} of its {needed} experts are in this process" if 0 < max(here) < needed else ""


def stacked_rows(experts: nn.Module, name: str, values: Tensor, count: int) -> Tensor | None:
    """Return a stacked parameter, or its gradient, as a row per expert; None if it doesn't hold one after the other."""
    stacked = {parameter.shape[0] for parameter in experts.parameters() if parameter.ndim == 3}
    if len(values) in stacked or (values.ndim and len(values) == count):
        return values.flatten(1) if values.ndim > 1 else values[:, None]
    holder = experts.get_submodule(name.rpartition(".")[0])
    width = getattr(holder, "ffn_hidden_size", 0)
    if values.ndim == 2 and len(values) == count * width:  # dbrx: (E * I, H)
        return values.reshape(count, -1)
    return None


def take(norms: Norms, copy: Callable[[Tensor], Tensor]) -> Norms:
    """Return the same with its values on their way to the host."""
    return norms._replace(values=copy(norms.values))


def _unscaled(norms: Tensor, scale: Tensor | None) -> Tensor:
    return norms if scale is None else norms / scale.to(norms.device)


def _holds(module: nn.Module, inner: nn.Module) -> bool:
    return any(part is inner for part in module.modules())
