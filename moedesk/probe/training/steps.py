"""The training steps of one model: what an optimizer did after one or several passes, their loss, their gradients."""

import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from moedesk.core.columns import STEP
from moedesk.core.training import LayerNorms, TrainingStep
from moedesk.probe.finding.binding import Binding
from moedesk.probe.taking.block import numpy_of
from moedesk.probe.taking.tap import Transfer, recomputing
from moedesk.probe.training.gradients import LayerGradients, Norms, take
from moedesk.probe.training.outputs import OutputSums


@dataclass
class RecordedStep:
    """One training step, as the hooks left it; its tensors may still be on their way.

    Attributes
    ----------
    number : int
    loss, aux_loss : tensor or None
        Sums over its passes.
    losses, aux_losses : int
        How many passes they are sums of.
    summed : bool
        Whether the passes' losses add up to the step's; else the step's is their mean.
    rate : float, tensor or None
        The optimizer's learning rate.
    norms : list of Norms
    experts : dict
        Number of experts by path of the experts module.
    said : mapping
        Fields of ``columns.STEP`` that a Trainer knows better.
    """

    number: int
    transfer: Transfer = field(default_factory=Transfer)
    t_ns: int = 0
    loss: Tensor | None = None
    aux_loss: Tensor | None = None
    losses: int = 0
    aux_losses: int = 0
    summed: bool = False
    rate: Any = None
    norms: list[Norms] = field(default_factory=list)
    experts: Mapping[str, int] = field(default_factory=dict)
    said: Mapping[str, float] = field(default_factory=dict)

    def add_losses(self, output: Any, summed: bool) -> None:
        """Take the losses in the output of one of its passes."""
        loss, aux_loss = _scalar(output, "loss"), _scalar(output, "aux_loss")
        self.summed |= summed
        if loss is not None:
            self.loss = loss if self.loss is None else self.loss + loss
            self.losses += 1
        if aux_loss is not None:
            self.aux_loss = aux_loss if self.aux_loss is None else self.aux_loss + aux_loss
            self.aux_losses += 1

    def send(self) -> None:
        """Start the copies to the host."""
        copy = self.transfer.take
        self.t_ns = time.time_ns()
        self.loss = None if self.loss is None else copy(self.loss)
        self.aux_loss = None if self.aux_loss is None else copy(self.aux_loss)
        self.transfer.send()

    def make(self, places: Mapping[str, int], outputs: OutputSums) -> TrainingStep:
        """Return it as columns; waits for its copies."""
        self.transfer.wait()
        row = np.zeros((), STEP)
        for name in ("loss", "aux_loss", "learning_rate", "grad_norm", "epoch"):
            row[name] = np.nan
        row["step"], row["t_ns"] = self.number, self.t_ns
        if self.loss is not None:
            row["loss"] = float(self.loss) / (1 if self.summed else self.losses)
        if self.aux_loss is not None:
            row["aux_loss"] = float(self.aux_loss) / self.aux_losses
        if self.rate is not None:
            row["learning_rate"] = float(self.rate)
        for name, value in self.said.items():
            if name != "learning_rate" or np.isnan(row[name]):  # that one the optimizer knows best
                row[name] = value
        return TrainingStep(row, self._layers(places, outputs))

    def _layers(self, places: Mapping[str, int], outputs: OutputSums) -> tuple[LayerNorms, ...]:
        means = outputs.take()
        paths = dict.fromkeys([norms.path for norms in self.norms]) | dict.fromkeys(means)
        layers = []
        for path in paths:
            if path not in places:
                continue
            count = self.experts[path]
            squares = {"gradients": np.full(count, np.nan), "router": np.full(1, np.nan), "shared": np.full(1, np.nan)}
            for norms in self.norms:
                if norms.path == path:
                    sums, at = squares[norms.part], list(norms.places)
                    sums[at] = np.where(np.isnan(sums[at]), 0, sums[at])
                    np.add.at(sums, at, numpy_of(norms.values).astype(np.float64) ** 2)
            roots = {part: np.sqrt(sums).astype(np.float32) for part, sums in squares.items()}
            layers.append(
                LayerNorms(
                    places[path],
                    roots["gradients"],
                    means.get(path, np.full(count, np.nan, np.float32)),
                    float(roots["router"][0]),
                    float(roots["shared"][0]),
                )
            )
        return tuple(sorted(layers, key=lambda norms: norms.layer))


class Steps:
    """Follows the training of one model.

    A step ends with the optimizer's: in a training loop of any kind, when the next pass begins, or the optimizer steps again,
    or recording ends; under a Trainer when its callback says so (``begin``, ``end``).

    Parameters
    ----------
    model : Module
    deliver : function
        Takes each step that had passes and at which an optimizer stepped.
    backward : bool
        Whether gradients and outputs are measured.

    Attributes
    ----------
    number : int
        The step that the next training pass belongs to, from 0 unless a Trainer says it.
    backward : bool
    """

    def __init__(self, model: nn.Module, deliver: Callable[[RecordedStep], None], backward: bool) -> None:
        self.number = 0
        self.backward = backward
        self._asked = backward  # whether it ever was
        self._deliver = deliver
        self._model = weakref.ref(model)
        self._layers: list[LayerGradients] = []
        self._experts: dict[str, int] = {}
        self._open: RecordedStep | None = None
        self._stepped: set[int] = set()  # ids of the optimizers that did since the last pass
        self._told = False  # whether a Trainer says when a step begins and ends
        self._mine: weakref.WeakKeyDictionary[Optimizer, tuple[int, frozenset[int]]] = weakref.WeakKeyDictionary()
        self._handles = _watch_optimizers(self)

    def bind(self, binding: Binding) -> None:
        """Measure a layer from now on."""
        model = self._model()
        if model is not None:
            self._layers.append(LayerGradients(binding, model))
            self._experts[binding.candidate.path] = binding.layer.experts

    @property
    def notes(self) -> list[str]:
        """What could not be measured, a line each; none if nobody asked."""
        return [line for layer in self._layers for line in layer.notes] if self._asked else []

    def before_pass(self, training: bool) -> int:
        """Begin a pass; return the number of its step, -1 outside training."""
        if not self._told and self._stepped:
            self._finish()
        self._asked |= self.backward
        if not training:
            return -1
        if self._open is None:
            self._open = RecordedStep(self.number, experts=self._experts)
        return self.number

    def after_pass(self, output: Any, summed: bool) -> None:
        """Take the output of a training pass; ``summed`` if its loss was divided by the items of all the step's passes."""
        if self._open is not None:
            self._open.add_losses(output, summed)

    def begin(self, number: int) -> None:
        """Begin a step, as a Trainer says."""
        self._told, self.number = True, number
        self._open = None
        self._stepped.clear()

    def end(self, said: Mapping[str, float]) -> None:
        """End the step, as a Trainer says; does nothing the second time."""
        if self._open is not None:
            self._open.said = said
            self._finish()

    def leave(self, backward: bool) -> None:
        """A Trainer says no more; the next step follows the last one, and is measured or not."""
        self.backward = backward
        self._told, self._open = False, None
        self.number += 1

    def close(self) -> None:
        """Deliver what is finished, and watch no optimizer any more."""
        for handle in self._handles:
            handle.remove()
        if not self._told and self._stepped:
            self._finish()

    def _finish(self) -> None:
        step, self._open = self._open, None
        self._stepped.clear()
        if not self._told:
            self.number += 1
        if step is not None:
            step.send()
            self._deliver(step)

    def optimizer_steps(self, optimizer: Optimizer) -> None:
        """Measure what an optimizer is about to use, or has just used, if it is one of this model's."""
        mine = self._parameters(optimizer)
        if not mine or recomputing():
            return
        if not self._told and id(optimizer) in self._stepped:
            self._finish()
        self._stepped.add(id(optimizer))
        step = self._open
        if step is None:
            return
        rate = next(g.get("lr") for g in optimizer.param_groups if any(id(p) in mine for p in g["params"]))
        if step.rate is None:
            step.rate = step.transfer.copy(rate) if isinstance(rate, Tensor) else rate
        if self.backward:
            scale = getattr(optimizer, "grad_scale", None)
            for layer in self._layers:
                step.norms += [take(norms, step.transfer.take) for norms in layer.read(mine, scale)]

    def _parameters(self, optimizer: Optimizer) -> frozenset[int]:
        """The ids of an optimizer's parameters that are the model's."""
        given = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        known = self._mine.get(optimizer)
        if known is None or known[0] != len(given):
            model = self._model()
            own = set() if model is None else {id(parameter) for parameter in model.parameters()}
            known = self._mine[optimizer] = len(given), frozenset(id(p) for p in given if id(p) in own)
        return known[1]


def _watch_optimizers(steps: Steps) -> tuple[Any, ...]:
    """Hook all optimizers of the process; they don't keep ``steps`` alive, and let go of the hooks when it is gone."""
    here = weakref.ref(steps)

    def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if (steps := here()) is not None and not _closure(args, kwargs):
            steps.optimizer_steps(optimizer)

    def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if (steps := here()) is not None and _closure(args, kwargs):  # the gradients came during the step
            steps.optimizer_steps(optimizer)

    handles = register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)
    for handle in handles:
        weakref.finalize(steps, handle.remove).atexit = False
    return handles


def _closure(args: Any, kwargs: Mapping[str, Any]) -> bool:
    """Whether an optimizer's step computes the gradients itself. The first argument is the optimizer, or not, by version."""
    return kwargs.get("closure") is not None or any(
        callable(argument) for argument in args if not isinstance(argument, Optimizer)
    )


def _scalar(output: Any, name: str) -> Tensor | None:
    """A loss in a model's output, as a new tensor."""
    value = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
    if isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point():
        return value.detach().reshape(()).to(torch.float32, copy=True)
    return None
