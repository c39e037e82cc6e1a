"""Which of the tensors that a block calculated are its ids and weights: those that explain what its experts and it did."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan, nan

import torch
from torch import Tensor

from moedesk.core.errors import MoedeskError
from moedesk.probe.adapters.adapter import Routing, Selection
from moedesk.probe.adapters.dense_routing import chosen_of, picked_of, slots_of
from moedesk.probe.finding.scale import measure_scale
from moedesk.probe.watched.operations import Step
from moedesk.probe.watched.watch import SAMPLES, Watch


@dataclass(frozen=True, eq=False)
class Explanation:
    """Ids and weights that explain a call.

    Attributes
    ----------
    weights : Step
        (N, k) beside ids; else (N, E) with a weight for each expert, or (N, E, C) for each slot of its capacity.
    ids : Step or None
    routing : Routing
        What they say.
    scale : float
        Factor that follows, NaN if unknown.
    selection : str
        ``soft`` if every token goes to all experts; ``expert choice`` if ids and weights are (…, E, C): the tokens, numbered in
        their sequence, that each expert picked, with their weights.
    """

    weights: Step
    ids: Step | None
    routing: Routing
    scale: float
    selection: Selection = "token choice"


def explain(watch: Watch, output: Tensor) -> Explanation:
    """Return what explains which experts ran on which rows, and the block's output as Σ weight × expert's output.

    Of several, the one without a factor behind it, and of these the last before the experts run: nearest to where it is applied,
    with all that was done to it by then, such as dropping what exceeds a capacity.

    Raises
    ------
    MoedeskError
        If nothing does.
    """
    if not any(ran.marks for ran in watch.ran):
        raise MoedeskError("its experts were not called as modules")
    found = None
    for source in watch.sources:
        tables = _Tables(watch, source, output)
        for explanation in _explanations(watch, tables):
            if abs(explanation.scale - 1) < 1e-2:
                return explanation
            found = found or explanation
    found = found or next(_slots_explained(watch, output), None)
    if found is None:
        raise MoedeskError("no tensor that it calculated says which experts its tokens went to, with which weights")
    return found


def follows(watch: Watch, output: Tensor, routing: Routing, scale: float) -> bool:
    """Return whether experts ran on just the rows that an (N, k) routing says, and the block's output is their sum with its
    weights, times ``scale`` and with what is beside them.
    """
    experts = len(watch.ran)
    chosen = chosen_of(routing.ids, torch.ones_like(routing.weights, dtype=torch.float32), experts)
    dense = chosen_of(routing.ids, routing.weights.detach().float(), experts)
    for source in watch.sources:
        tables = _Tables(watch, source, output)
        if tables.everywhere or tables.ran_there(chosen):
            factor = tables.factor(dense[:SAMPLES])
            if not isnan(factor) and abs(factor - scale) <= 1e-2 * abs(scale):
                return True
    return False


class _Tables:
    """What the experts did with the rows of one source.

    Attributes
    ----------
    counts : (N, E) int tensor
        How often an expert ran on rows with the content of this one.
    alike : (N,) int tensor
        How many rows have the content of this one.
    """

    def __init__(self, watch: Watch, source: Tensor, output: Tensor) -> None:
        contents, place, number = source.unique(return_inverse=True, return_counts=True)
        self.counts = source.new_zeros(watch.rows, len(watch.ran))
        self.foreign = False
        for expert, ran in enumerate(watch.ran):
            if not ran.marks:
                continue
            marks = torch.cat(ran.marks)
            at = torch.searchsorted(contents, marks).clamp(max=len(contents) - 1)
            self.foreign |= bool((contents[at] != marks).any())
            self.counts[:, expert] = torch.bincount(at, minlength=len(contents))[place]
        self._place, self._number = place, number
        self.everywhere = bool((self.counts == number[place].unsqueeze(-1)).all())
        self._watch = watch
        self._output = watch.sampled(output)
        self._outputs = [self._lookup(ran.samples, source[:SAMPLES]) for ran in watch.ran]

    def ran_there(self, chosen: Tensor) -> bool:
        """Whether the experts ran on just these rows: an (N, E) mask, summed over rows alike."""
        if self.foreign:
            return False
        wanted = torch.zeros(len(self._number), chosen.shape[-1], dtype=torch.int64, device=chosen.device)
        wanted.index_add_(0, self._place, chosen.long())
        return bool((wanted[self._place] == self.counts).all())

    def factor(self, weights: Tensor) -> float:
        """The factor between Σ weight × expert's output and the block's output, NaN if they don't belong together.

        ``weights`` are those of the sampled rows, (S, E).
        """
        total = torch.zeros_like(self._output)
        for expert, (known, outputs) in enumerate(self._outputs):
            given = weights[:, expert]
            if bool((given[~known] != 0).any()):
                return nan
            if outputs.shape[-1] != total.shape[-1]:
                return nan
            total += torch.where(known, given, 0).unsqueeze(-1) * outputs
        return _factor(self._watch, total, self._output)

    def _lookup(self, samples: list[tuple[Tensor, Tensor]], wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Whether an expert's output is known for each sampled row, and what it is."""
        if not samples:
            return torch.zeros_like(wanted, dtype=torch.bool), self._output.new_zeros(self._output.shape)
        marks, outputs = (torch.cat(part) for part in zip(*samples, strict=True))
        if not len(marks):
            return torch.zeros_like(wanted, dtype=torch.bool), self._output.new_zeros(self._output.shape)
        same = wanted.unsqueeze(-1) == marks
        return same.any(-1), outputs[same.to(torch.int8).argmax(-1)]


def _explanations(watch: Watch, tables: _Tables) -> Iterator[Explanation]:
    experts = len(watch.ran)
    before = [step for step in watch.observer.steps if step.place.step < watch.before_experts]
    steps = [*reversed(before), *watch.observer.steps[len(before) :]]
    floats = [step for step in steps if step.value.is_floating_point()]
    for ids in steps:
        value = ids.value
        if value.is_floating_point() or value.ndim != 2 or int(value.min()) < -1 or int(value.max()) >= experts:
            continue
        chosen = chosen_of(value, torch.ones_like(value, dtype=torch.float32), experts)
        if bool((chosen > 1).any()) or not (tables.everywhere or tables.ran_there(chosen)):
            continue
        for weights in floats:
            if weights.value.shape != value.shape:
                continue
            factor = tables.factor(chosen_of(value[:SAMPLES], weights.value[:SAMPLES].float(), experts))
            if not isnan(factor):
                yield Explanation(weights, ids, Routing(value, weights.value), factor)
    for weights in floats:
        dense = weights.value.sum(-1) if weights.value.ndim == 3 else weights.value
        if dense.shape[-1] != experts:
            continue
        soft = bool((dense != 0).all())
        if not (tables.everywhere or tables.ran_there(dense != 0)) or (soft and not tables.everywhere):
            continue
        factor = tables.factor(dense[:SAMPLES].float())
        if not isnan(factor):
            slots = int((dense != 0).sum(-1).max())
            yield Explanation(weights, None, slots_of(dense, slots), factor, "soft" if soft else "token choice")

    for ids in watch.observer.picks:
        for weights in watch.observer.picks if not ids.value.is_floating_point() else ():
            if not weights.value.is_floating_point() or weights.value.shape != ids.value.shape:
                continue
            picked = picked_of(ids.value, weights.value, watch.rows, experts)
            if picked is None or not tables.ran_there(picked != 0):
                continue
            factor = tables.factor(picked[:SAMPLES].float())
            if not isnan(factor):
                yield Explanation(weights, ids, slots_of(picked, experts), factor, "expert choice")


def _slots_explained(watch: Watch, output: Tensor) -> Iterator[Explanation]:
    """Weights for what is in the slots of the experts, where these are mixtures of tokens (Soft MoE) or a group's tokens."""
    if not all(ran.outputs for ran in watch.ran):
        return
    made = [torch.cat(ran.outputs).float() for ran in watch.ran]
    target, rows = watch.sampled(output), int(made[0].shape[0])
    if any(part.shape != (rows, target.shape[-1]) for part in made):
        return
    for step in reversed(watch.observer.steps):
        if step.value.ndim != 3 or rows % step.value.shape[-1] or watch.rows % (rows // step.value.shape[-1]):
            continue
        slots = step.value.shape[-1]
        groups = rows // slots
        given = step.value.float().reshape(groups, watch.rows // groups, len(made), slots)
        total = torch.zeros(groups, watch.rows // groups, target.shape[-1], device=target.device)
        for expert, part in enumerate(made):
            total += given[:, :, expert] @ part.reshape(groups, slots, -1)
        factor = _factor(watch, total.reshape(watch.rows, -1)[:SAMPLES], target)
        if not isnan(factor):
            dense = step.value.sum(-1)
            soft = bool((dense != 0).all())
            most = int((dense != 0).sum(-1).max())
            yield Explanation(step, None, slots_of(dense, most), factor, "soft" if soft else "token choice")


def _factor(watch: Watch, total: Tensor, output: Tensor) -> float:
    """The factor between what the experts add up to and the block's output, both (S, H); NaN if there is none."""
    beside = [value for value in watch.beside if value.shape == total.shape]
    factor = measure_scale(total, output, beside, watch.hidden.dtype)
    if isnan(factor) and watch.input_samples.shape == total.shape:  # the block adds its input
        factor = measure_scale(total, output, [*beside, watch.input_samples], watch.hidden.dtype)
    return factor
