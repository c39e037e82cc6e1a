"""Which of the tensors that a block calculated are its ids and weights: those that explain what its experts and it did."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan, nan

import torch
from torch import Tensor

from moedesk.core.errors import MoedeskError
from moedesk.probe.adapter import Routing
from moedesk.probe.dense_routing import chosen_of, slots_of
from moedesk.probe.operations import Place, Step
from moedesk.probe.scale import measure_scale
from moedesk.probe.watch import SAMPLES, Watch


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
    soft : bool
        Whether every token goes to all experts.
    """

    weights: Step
    ids: Step | None
    routing: Routing
    scale: float
    soft: bool = False


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
    if found is None:
        raise MoedeskError("no tensor that it calculated says which experts its tokens went to, with which weights")
    return found


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
        dtype = self._watch.hidden.dtype
        beside = [value for value in self._watch.beside if value.shape == total.shape]
        factor = measure_scale(total, self._output, beside, dtype)
        if isnan(factor) and self._watch.input_samples.shape == total.shape:  # the block adds its input
            factor = measure_scale(total, self._output, [*beside, self._watch.input_samples], dtype)
        return factor

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
            yield Explanation(weights, None, slots_of(dense, slots), factor, soft)


def places(explanation: Explanation, logits: Place | None) -> tuple[Place, ...]:
    """Return the places of all tensors that an explanation takes."""
    found = [explanation.weights.place]
    if explanation.ids is not None:
        found.append(explanation.ids.place)
    return tuple(found if logits is None else [*found, logits])
