"""How large each expert's output is: the norm of every row f_e(x) that a training pass sends through it.

An experts module adds its experts' outputs up. Where each expert is a module of its own, hooks on those see them; stacked
experts run a second time, every slot as a row of its own with weight 1, without gradients and with the random state put back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from moedesk.core.batch import LayerRoutes
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.discovery import inside
from moedesk.probe.finding.lookout import NO_NAMES
from moedesk.probe.finding.routing import ExpertsCall, read_routing
from moedesk.probe.taking.block import numpy_of
from moedesk.probe.taking.compiled import CompiledPart
from moedesk.probe.taking.parallel import has_spread
from moedesk.probe.taking.tap import Transfer, recomputing, small_ids
from moedesk.probe.training.gradients import expert_modules, missing_experts

ROWS = 8192
"""Rows that run a second time at once: a bound on the memory."""


@dataclass
class OutputNorms:
    """Norms of the experts' outputs in one call of a layer's experts; on their way to the host.

    Attributes
    ----------
    ids : (N, k) int tensor or None
        None where an adapter reads the routing: then the layer's counts say how many rows each expert should have.
    rows : (N, k) float tensor or None
        A norm for each slot.
    by_expert : list of (int, tensor)
        Else an expert's number, and a norm for each of its rows, in the order of the tokens.
    """

    binding: Binding
    ids: Tensor | None
    rows: Tensor | None = None
    by_expert: list[tuple[int, Tensor]] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """About what it holds."""
        values = [self.ids, self.rows, *(values for _, values in self.by_expert)]
        return sum(value.nbytes for value in values if value is not None)


class Outputs:
    """Hooks that measure outputs, on all layers that are bound.

    Parameters
    ----------
    wanted : bool
        Whether layers are hooked; if not, only once ``want`` says so.

    Attributes
    ----------
    taken : list of OutputNorms or None
        Those of the pass under way; None when nothing is measured.
    notes : dict
        What could not be measured, a line each.
    """

    def __init__(self, wanted: bool) -> None:
        self.taken: list[OutputNorms] | None = None
        self.notes: dict[str, None] = {}
        self._transfer = Transfer()
        self._handles: list[RemovableHandle] = []
        self._wanted, self._paused = wanted, False
        self._bound: list[Binding] = []
        self._replays: dict[str, _Replay] = {}
        self._hooked: list[Binding] = []

    def want(self) -> None:
        """Hook the layers after all."""
        if not self._wanted:
            self._wanted = True
            self._put_on()

    def begin(self, transfer: Transfer, parts: Sequence[CompiledPart] = ()) -> list[OutputNorms]:
        """Measure until ``end``, but not in ``parts``, which run compiled; return the list that is filled meanwhile."""
        self._transfer, self.taken = transfer, []
        compiled = [layer for layer in self._hooked if any(inside(layer.candidate.path, part.path) for part in parts)]
        self.notes |= {f"{layer.layer.path}: its experts run compiled; no output norms": None for layer in compiled}
        return self.taken

    def end(self) -> None:
        """Measure no more."""
        self.taken = None

    def bind(self, binding: Binding) -> None:
        """Hook a layer, from its next call on."""
        self._bound.append(binding)
        if self._wanted and not self._paused:
            self._hook(binding)

    def pause(self) -> None:
        """Take the hooks off until ``resume``."""
        self._paused = True
        self.remove()

    def resume(self) -> None:
        """Put them on again."""
        if self._paused:
            self._paused = False
            self._put_on()

    def _put_on(self) -> None:
        if self._wanted and not self._paused:
            for binding in self._bound:
                self._hook(binding)

    def _hook(self, binding: Binding) -> None:
        experts = binding.candidate.experts
        numbered = expert_modules(binding)
        if missing := missing_experts(binding):
            self.notes[f"{binding.layer.path}: {missing}; no output norms"] = None
            return
        if not numbered and binding.adapter is not None:
            self.notes[f"{binding.layer.path}: its experts are no modules of their own; no output norms"] = None
            return
        if not numbered and has_spread(experts):  # alone they would wait for the other processes, or run on parts
            self.notes[f"{binding.layer.path}: its experts are spread over processes; no output norms"] = None
            return
        self._hooked.append(binding)
        if not numbered:
            replay = self._replays.setdefault(binding.candidate.path, _Replay(binding))  # what it checked stays checked
            self._handles.append(experts.register_forward_hook(partial(self._after_stack, replay), with_kwargs=True))
            return
        called = experts if binding.adapter is None else binding.candidate.block
        entered = called.register_forward_pre_hook(partial(self._before_list, binding), with_kwargs=True)
        self._handles.append(entered)
        for place, module in numbered.items():
            self._handles.append(module.register_forward_hook(partial(self._after_expert, binding, place)))

    def remove(self) -> None:
        """Take the hooks off."""
        self.end()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._hooked.clear()

    def _after_stack(self, replay: "_Replay", module: nn.Module, args: Sequence[Any], *given: Any) -> None:
        kwargs, output = given if len(given) == 2 else (NO_NAMES, *given)
        taken = self.taken
        if taken is None or recomputing() or replay.failed or torch.compiler.is_compiling():
            return
        routing = read_routing(args, kwargs)
        if routing is None:
            return
        rows = replay.norms(args, kwargs, routing, output)
        if rows is None:
            self.notes[replay.failed] = None
            return
        ids = small_ids(routing.ids(), replay.binding.layer.experts)
        taken.append(OutputNorms(replay.binding, self._transfer.take(ids), self._transfer.take(rows)))

    def _before_list(
        self, binding: Binding, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] = NO_NAMES
    ) -> None:
        if self.taken is None or recomputing() or torch.compiler.is_compiling():
            return
        if binding.adapter is not None:
            self.taken.append(OutputNorms(binding, None))
            return
        routing = read_routing(args, kwargs)
        if routing is not None:
            ids = small_ids(routing.ids(), binding.layer.experts)
            self.taken.append(OutputNorms(binding, self._transfer.take(ids)))

    def _after_expert(self, binding: Binding, place: int, module: nn.Module, args: Any, output: Any) -> None:
        if (
            not self.taken
            or torch.compiler.is_compiling()
            or recomputing()
            or self.taken[-1].binding is not binding
            or not isinstance(output, Tensor)
        ):
            return
        with torch._C.DisableTorchFunction():  # a block that is watched must not see this
            norms = torch.linalg.vector_norm(output.detach(), dim=-1, dtype=torch.float32).reshape(-1)
        self.taken[-1].by_expert.append((place, self._transfer.take(norms)))


class _Replay:
    """Runs the stacked experts of one layer a second time."""

    def __init__(self, binding: Binding) -> None:
        self.binding = binding
        self.failed = ""
        self._checked = False

    def norms(self, args: Sequence[Any], kwargs: Mapping[str, Any], routing: ExpertsCall, output: Any) -> Tensor | None:
        """(N, k) norms of the experts' outputs; None, and why in ``failed``, if they can't be had."""
        module = self.binding.candidate.experts
        devices = [routing.hidden.device] if routing.hidden.is_cuda else []
        try:
            with torch.no_grad(), torch.random.fork_rng(devices):
                step = max(1, ROWS // routing.top_k)
                parts = []
                for first in range(0, len(routing.hidden), step):
                    rows = _rows(module, args, kwargs, routing, slice(first, first + step))
                    if not self._checked:
                        self._check(rows, routing, output)
                    parts.append(torch.linalg.vector_norm(rows, dim=-1, dtype=torch.float32))
                return torch.cat(parts)
        except Exception as error:  # whatever an experts module raises must not reach the model
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.failed = f"{self.binding.layer.path}: its experts don't run one by one ({why}); no output norms"
            return None

    def _check(self, rows: Tensor, routing: ExpertsCall, output: Any) -> None:
        """See, once, that the rows with their weights make the output; waits for the device."""
        expected = output[0] if isinstance(output, tuple) else output
        count = len(rows)
        expected = expected.detach().reshape(-1, rows.shape[-1])[:count].float()
        made = (rows.float() * routing.weights.detach()[:count, :, None].float()).sum(1)
        tolerance = 64 * torch.finfo(rows.dtype).eps * float(expected.abs().max().clamp_min(1e-30))
        if made.shape != expected.shape or not bool(((made - expected).abs() <= tolerance).all()):
            raise ValueError("their outputs times the gate weights don't make the layer's")
        self._checked = True


def _rows(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], routing: ExpertsCall, part: slice
) -> Tensor:
    """(n, k, H) outputs of the experts of some tokens, without their weights."""
    if routing.one_hot:
        raise ValueError("they take a mask")
    top_k = routing.top_k
    hidden = routing.hidden[part].repeat_interleave(top_k, 0)
    choice = routing.choice.detach()[part].reshape(-1, 1)
    weights = torch.ones(len(hidden), 1, dtype=routing.weights.dtype, device=hidden.device)
    given = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
    hidden = hidden if given.ndim == 2 else hidden[None]

    def instead(value: Any) -> Any:
        return hidden if value is given else choice if value is routing.choice else _or(value, routing.weights, weights)

    output = module.forward(*(instead(value) for value in args), **{k: instead(v) for k, v in kwargs.items()})
    output = output[0] if isinstance(output, tuple) else output
    return output.reshape(-1, top_k, output.shape[-1])


def _or(value: Any, old: Tensor, new: Tensor) -> Any:
    return new if value is old else value


class OutputSums:
    """Norms of outputs summed over the passes of a training step; for the courier's thread.

    Attributes
    ----------
    notes : dict
        What could not be attributed, a line each.
    """

    def __init__(self) -> None:
        self.notes: dict[str, None] = {}
        self._sums: dict[str, npt.NDArray[np.float64]] = {}

    def add(self, norms: OutputNorms, padding: npt.NDArray[np.bool_] | None, routes: LayerRoutes | None) -> None:
        """Add one call's.

        Parameters
        ----------
        norms : OutputNorms
        padding : (N,) bool or None
            Which of the call's rows to leave out.
        routes : LayerRoutes or None
            What the layer did in the pass.
        """
        layer, path = norms.binding.layer, norms.binding.candidate.path
        sums = self._sums.setdefault(path, np.zeros((2, layer.experts)))
        if norms.ids is None:
            self._add_read(norms, padding, routes, sums)
            return
        ids = numpy_of(norms.ids).astype(np.int64)
        kept = np.ones(len(ids), bool) if padding is None or len(padding) != len(ids) else ~padding
        slots = (ids >= 0) & (ids < layer.experts)
        rows = self._arrange(norms, ids, kept) if norms.rows is None else numpy_of(norms.rows)
        slots &= kept[:, None] & ~np.isnan(rows)
        sums[0] += np.bincount(ids[slots], rows[slots], layer.experts)
        sums[1] += np.bincount(ids[slots], minlength=layer.experts)

    def _add_read(
        self,
        norms: OutputNorms,
        padding: npt.NDArray[np.bool_] | None,
        routes: LayerRoutes | None,
        sums: npt.NDArray[np.float64],
    ) -> None:
        """Add rows of a layer whose routing an adapter reads.

        Experts ran on as many rows as the layer counted: then on just those; or each on all rows: then those routed to it count.
        """
        calls: dict[int, list[npt.NDArray[np.float32]]] = {}
        for place, values in norms.by_expert:
            calls.setdefault(place, []).append(numpy_of(values))
        parts = {place: np.concatenate(some) for place, some in calls.items()}
        once = len(parts) == len(norms.by_expert)
        ids = None if routes is None else routes.experts
        counts = None if routes is None else routes.counts
        if once and ids is not None and padding is not None and all(len(part) == len(ids) for part in parts.values()):
            parts = {place: part[(ids == place).any(1) & ~padding] for place, part in parts.items()}
        ran = np.zeros(len(sums[1]), np.int64)
        for place, part in parts.items():
            ran[place] = len(part)
        if counts is None or not np.array_equal(ran, counts):
            why = "its experts did not run on just the tokens routed to them, or on padding too"
            self.notes[f"{norms.binding.layer.path}: {why}; no output norms"] = None
            return
        for place, part in parts.items():
            sums[0][place] += part.sum(dtype=np.float64)
            sums[1][place] += len(part)

    def _arrange(
        self, norms: OutputNorms, ids: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64]:
        """(N, k) norms out of those by expert, NaN where there are none."""
        rows = np.full(ids.shape, np.nan)
        for place, values in norms.by_expert:
            here = ids == place
            if here.sum() != len(values):
                why = "its experts did not run on just the tokens routed to them"
            elif ids.shape[1] > 1 and not kept.all():
                why = "padding can't be told from other tokens in what its experts put out"
            else:
                rows[here] = numpy_of(values)
                continue
            self.notes[f"{norms.binding.layer.path}: {why}; no output norms"] = None
            return np.full(ids.shape, np.nan)
        return rows

    def take(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the (E,) means by path of the experts module, NaN without tokens, and begin anew."""
        sums, self._sums = self._sums, {}
        with np.errstate(invalid="ignore", divide="ignore"):
            return {path: (norm / count).astype(np.float32) for path, (norm, count) in sums.items()}
