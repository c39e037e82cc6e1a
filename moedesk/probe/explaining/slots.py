"""What each slot of an MoE layer gave to one token: w·f(x) of each of its experts, and of the shared ones, from one forward."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import isnan, nan
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from moedesk.core.errors import MoedeskError
from moedesk.probe.exactness.replay import longest_product, tolerance_of
from moedesk.probe.exactness.single_expert import expert_runner
from moedesk.probe.exactness.slots_alone import slots_alone
from moedesk.probe.explaining.tape import unseen
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.discovery import parent_path
from moedesk.probe.finding.lookout import NO_NAMES
from moedesk.probe.finding.parts import first_tensor, is_shared
from moedesk.probe.finding.routing import read_routing
from moedesk.probe.watched.watched_scout import hidden_of

FAINT = 1e-4
"""Factor below which a module beside the experts has no part in a block's output."""

Mark = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Takes what a module returned; returns what stands for it in gradients, and what is used in its place, which may be written
into."""


def unmarked(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Return the tensor itself: for a forward without gradients."""
    return tensor, tensor


@dataclass(frozen=True, eq=False)
class Slots:
    """What the slots of a layer gave to the token, where their sum is: in its experts' output, or in its block's.

    Attributes
    ----------
    added : (k, D) float64 tensor
        w·f(x) of each slot, times the factor that the block applies if the sum is its output.
    total : (D,) float64 tensor
        The output that they add up to, as the model computed it.
    rest : (D,) float64 tensor
        What else is in that output: shared experts and a bias, if it is the block's.
    error, tolerance : float
        Largest difference between ``total`` and the sum, relative to the largest values that could add up, and how much of it
        rounding explains.
    anchor : Tensor
        That output of the forward, for its gradient.
    module : Module
        Whose output it is: the experts or the block.
    shared : tuple of (str, (D,) float64 tensor, Tensor)
        Path, output row and output of each shared expert.
    block : (float, float)
        ``error`` and ``tolerance`` of the block's output against slots, shared experts and bias; NaN where what follows the
        experts is not linear, or was not measured.
    factor : float
        What the block multiplies their sum by; NaN where it does something else with it.
    """

    added: Tensor
    total: Tensor
    rest: Tensor
    error: float
    tolerance: float
    anchor: Tensor
    module: nn.Module
    shared: tuple[tuple[str, Tensor, Tensor], ...] = ()
    block: tuple[float, float] = (nan, nan)
    factor: float = 1.0

    @property
    def complete(self) -> bool:
        """Whether the slots and the rest add up to the output."""
        return self.error <= self.tolerance

    @property
    def sizes(self) -> Tensor:
        """(k,) norms of what the slots gave, times the block's factor if there is one."""
        return self.added.norm(dim=-1) * (1.0 if isnan(self.factor) else abs(self.factor))


@dataclass
class _Heard:
    """What one forward showed of a layer."""

    experts: tuple[tuple[Any, ...], Mapping[str, Any], Tensor, Tensor] | None = None
    """Arguments, output as it was, what stands for it in gradients."""
    given: Tensor | None = None
    """The first of these arguments."""
    block: tuple[Tensor, Tensor] | None = None
    hidden: Tensor | None = None
    tokens: int = 0
    shared: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


class SlotListener:
    """Hooks of one layer for one forward; ``slots`` makes what they heard into what each slot gave to the last token row.

    Parameters
    ----------
    binding : Binding
    mark : function
        For the outputs of experts, shared experts and block.
    """

    def __init__(self, binding: Binding, mark: Mark = unmarked) -> None:
        self.binding = binding
        self._mark = mark
        self._heard = _Heard()
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Put the hooks on."""
        candidate, add = self.binding.candidate, self._handles.append
        add(candidate.block.register_forward_pre_hook(self._before_block, with_kwargs=True))
        if candidate.experts is not candidate.block:
            add(candidate.experts.register_forward_hook(self._after_experts, with_kwargs=True))
        for path, module in _shared_in(self.binding):
            add(module.register_forward_hook(self._watcher(path)))
        add(candidate.block.register_forward_hook(self._after_block))

    def detach(self) -> None:
        """Take them off."""
        for handle in self._handles:
            handle.remove()

    @unseen
    def _before_block(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any] = NO_NAMES) -> None:
        self._heard = _Heard(shared=self._heard.shared)  # those of what holds the block may have run before it
        hidden = hidden_of(args, kwargs)
        if hidden is not None:
            self._heard.hidden, self._heard.tokens = _last_row(hidden), hidden.shape[:-1].numel()

    @unseen
    def _after_experts(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> Any:
        tensor = first_tensor(output)
        given = first_tensor((*args, *kwargs.values()))
        if tensor is None or given is None or not tensor.is_floating_point():
            return None
        anchor, used = self._mark(tensor)
        self._heard.experts = args, kwargs, tensor.detach().clone(), anchor
        self._heard.given = given
        return replaced(output, tensor, used)

    def _watcher(self, path: str) -> Callable[[nn.Module, Any, Any], Any]:
        @unseen
        def watch(module: nn.Module, args: Any, output: Any) -> Any:
            tensor = first_tensor(output)
            if tensor is None or not tensor.is_floating_point():
                return None
            anchor, used = self._mark(tensor)
            self._heard.shared[path] = _last_row(tensor).cpu().double(), anchor
            return replaced(output, tensor, used)

        return watch

    @unseen
    def _after_block(self, module: nn.Module, args: Any, output: Any) -> Any:
        tensor = first_tensor(output)
        if tensor is None:
            return None
        anchor, used = self._mark(tensor)
        self._heard.block = tensor.detach().clone(), anchor
        return replaced(output, tensor, used)

    def slots(self, ids: np.ndarray, weights: np.ndarray) -> Slots:
        """Return what each slot gave to the last row; runs the experts again on it.

        Parameters
        ----------
        ids : (k,) int64
            As the experts received them.
        weights : (k,) float32

        Raises
        ------
        MoedeskError
            If its experts can't be run on one token, or what they give is in no output alone.
        """
        if self.binding.layer.selection == "soft":
            raise MoedeskError("its experts get mixtures of all tokens, so none can be run on one token")
        if self.binding.adapter is None:
            return self._of_stack()
        return self._of_adapter(torch.from_numpy(ids), torch.from_numpy(weights))

    def _of_stack(self) -> Slots:
        """By the experts module itself: called with a row for each slot."""
        heard = self._heard.experts
        call = None if heard is None else read_routing(heard[0], heard[1])
        if heard is None or call is None:
            raise MoedeskError("its experts were not called with the token")
        args, kwargs, output, anchor = heard
        with torch.no_grad():
            added = slots_alone(self.binding.candidate.experts, args, kwargs, call, -1).cpu().double()
        unused = (call.ids()[-1] < 0) | (call.weights.detach()[-1] == 0)
        return self._with_block(
            self._judged(added.masked_fill(unused.cpu()[:, None], 0), output, anchor, 1.0, output.dtype)
        )

    def _with_block(self, found: Slots) -> Slots:
        """With the block's output judged as well, if what it makes of its experts' is known."""
        factor, block = self.binding.layer.post_scale, self._heard.block
        if isnan(factor) or block is None or block[0].shape[-1] != found.added.shape[-1]:
            return replace(found, factor=factor)
        whole = self._judged(found.added, *block, factor, block[0].dtype, beside=True)
        return replace(found, block=(whole.error, whole.tolerance), factor=factor, shared=whole.shared)

    def _of_adapter(self, ids: Tensor, weights: Tensor) -> Slots:
        """By one expert at a time, on the row that they got."""
        adapter, run = self.binding.adapter, expert_runner(self.binding)
        assert adapter is not None
        if self._heard.block is None:
            raise MoedeskError(
                f"{self.binding.layer.block} is not called as a whole, so its experts can't be run alone"
            )
        if run is None:
            raise MoedeskError(
                f"adapter {adapter.name!r} has no run_expert=, and its experts are no modules of their own"
            )
        row = self._row()
        parts: dict[int, Tensor] = {}
        for slot, (number, weight) in enumerate(zip(ids.tolist(), weights.tolist(), strict=True)):
            if number >= 0 and weight != 0:
                factor = weights[slot].to(row)
                with torch.no_grad():
                    given = (row * factor if adapter.weighs == "inputs" else row).unsqueeze(0)
                    made = run(number, given).detach().reshape(-1).cpu().double()
                parts[slot] = made * (1 if adapter.weighs == "inputs" else weight)
        width = next((len(part) for part in parts.values()), row.shape[-1])
        added = torch.stack([parts.get(slot, torch.zeros(width, dtype=torch.float64)) for slot in range(len(ids))])
        return self._where_they_are(added, row.dtype)

    def _row(self) -> Tensor:
        """What the experts got: the last row of their call, if it had one for each token, else of the block's."""
        heard = self._heard
        row, given = heard.hidden, heard.given
        if (
            heard.experts is not None
            and given is not None
            and given.is_floating_point()
            and given.shape[:-1].numel() == heard.experts[2].shape[:-1].numel() == heard.tokens
        ):
            row = _last_row(given)
        if row is None:
            raise MoedeskError("the row that its experts got is not known")
        return row

    def _where_they_are(self, added: Tensor, dtype: torch.dtype) -> Slots:
        """Judged by the experts' output if they are in it alone, else by the block's with its factor."""
        if self._heard.experts is not None:
            _, _, output, anchor = self._heard.experts
            if output.shape[-1] == added.shape[-1]:
                found = self._judged(added, output, anchor, 1.0, dtype)
                if found.complete:
                    return self._with_block(found)
        assert self._heard.block is not None
        output, anchor = self._heard.block
        if output.shape[-1] != added.shape[-1]:
            raise MoedeskError("what its experts give is in no output alone")
        factor = self.binding.layer.post_scale
        found = self._judged(added, output, anchor, 1.0 if isnan(factor) else factor, dtype, beside=True)
        return replace(found, block=(found.error, found.tolerance))

    def _judged(
        self, added: Tensor, output: Tensor, anchor: Tensor, factor: float, dtype: torch.dtype, beside: bool = False
    ) -> Slots:
        """With the part of the output that they don't explain; beside them a block adds shared experts, a bias or its input."""
        total, added = _last_row(output).cpu().double(), factor * added
        left, shared = total - added.sum(0), dict(self._heard.shared)
        rest = torch.zeros_like(left)
        if beside:
            rest, shared = self._beside(left)
        scale = float(added.abs().amax(-1).sum() + (total.abs().amax() if beside else 0)) or 1.0
        module = self.binding.candidate.block if beside else self.binding.candidate.experts
        tolerance = tolerance_of(dtype, max(1, len(added)), longest_product([module]))
        if factor != 1:  # ``measure_scale`` rounds to so many places
            tolerance += 5e-7 if dtype == torch.float32 else 5e-3
        error = float((left - rest).abs().amax()) / scale
        parts = tuple((path, row, made) for path, (row, made) in shared.items())
        return Slots(added, total, rest, error, tolerance, anchor, module, parts)

    def _beside(self, left: Tensor) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """The part of what is left that shared experts times a factor, a bias or the block's input explain; and these experts."""
        names = [path for path, (row, _) in self._heard.shared.items() if row.shape == left.shape]
        columns = [self._heard.shared[path][0] for path in names]
        bias = getattr(self.binding.candidate.block, "bias", None)
        hidden = self._heard.hidden
        tries = [torch.zeros_like(left)]
        if isinstance(bias, Tensor) and bias.shape == left.shape:
            tries.append(bias.detach().cpu().double())
        if hidden is not None and hidden.shape == left.shape:
            tries.append(hidden.cpu().double())
        fitted = []
        for plain in tries:
            factors = _factors(left - plain, columns)
            part = plain + sum((f * column for f, column in zip(factors, columns, strict=True)), torch.zeros_like(left))
            used = {path: self._heard.shared[path] for path, f in zip(names, factors, strict=True) if abs(f) > FAINT}
            fitted.append((part, used))
        return min(fitted, key=lambda pair: float((left - pair[0]).abs().amax()))


def _shared_in(binding: Binding) -> list[tuple[str, nn.Module]]:
    """The shared experts of a block, or of what holds it, by their names; else, if it has some, all children but the experts."""
    candidate = binding.candidate
    prefix = f"{candidate.block_path}." if candidate.block_path else ""
    named = [
        (prefix + name, module)
        for name, module in candidate.block.named_modules()
        if name and is_shared(name.rpartition(".")[2])
    ]
    if not named and candidate.pool is not None and candidate.around is not None:
        outer = parent_path(candidate.block_path)
        named = [(f"{outer}.{name}", module) for name, module in candidate.around.named_children() if is_shared(name)]
    if named or not binding.layer.shared:
        return named
    return [
        (prefix + name, child) for name, child in candidate.block.named_children() if child is not candidate.experts
    ]


def replaced(output: Any, old: Tensor, new: Tensor) -> Any:
    """Return what a module returned with another tensor in the place of one of them; None, which leaves it, for the same."""
    if new is old:
        return None
    if output is old:
        return new
    if type(output) in (tuple, list):
        return type(output)(new if value is old else value for value in output)
    return None


def _factors(vector: Tensor, columns: list[Tensor]) -> list[float]:
    """The factors with which some vectors add up to one as nearly as they can."""
    if not columns:
        return []
    found: list[float] = torch.linalg.lstsq(torch.stack(columns, -1), vector.unsqueeze(-1)).solution.flatten().tolist()
    return found


def _last_row(tensor: Tensor) -> Tensor:
    return tensor.detach().reshape(-1, tensor.shape[-1])[-1].clone()
