"""``moedesk.TrainerCallback``: records a training run of transformers' ``Trainer``, or of any trainer of TRL."""

import atexit
import contextlib
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import transformers
from torch import nn

from moedesk.core.errors import MoedeskError
from moedesk.probe.attach import Attachment, attach, attached
from moedesk.probe.finding.discovery import LayerChoice
from moedesk.probe.hooks import Hooks
from moedesk.probe.notice import notice
from moedesk.probe.record import Recording
from moedesk.probe.wanted import Wanted

Kept = Literal["all", "counts", "nothing"]
"""What is kept of a pass."""


class TrainerCallback(transformers.TrainerCallback):
    """Records every n-th training step, with its number, loss, learning rate and auxiliary loss.

    All passes of the first step and of each whose number is a multiple of ``every`` are kept; of other steps and of
    evaluation, exact counts. Steps are numbered as in the Trainer's log, from 1. The capture is finished when training ends;
    after an exception, when the process ends, or training begins anew, or ``close`` is called.

    Parameters
    ----------
    path : path-like or None
        The capture to write (``.h5``); None shows the training in the app: in the session of the model if it is attached
        already, else in one of its own (in a kernel of the app, or of Jupyter).
    every : int
    tokenizer : transformers tokenizer, optional
        For the text of the tokens; the Trainer's if left out.
    backward : bool
        Keep, of the steps kept, the norm of each expert's and router's gradient and of each expert's output.
    others, evaluation : {"counts", "nothing", "all"}
        What is kept of the passes of other steps, and of evaluation during training.
    ranks : {"first", "all"}
        Record in the first process only, or in each, to ``NAME.rankN.h5``.
    layers, logits, weights, byte_budget
        As for ``moedesk.record``.

    Examples
    --------
    >>> trainer = Trainer(model, arguments, train_dataset=data, callbacks=[moedesk.TrainerCallback("run.h5", every=50)])
    >>> trainer.train()
    """

    def __init__(
        self,
        path: str | PathLike[str] | None = None,
        *,
        every: int = 50,
        tokenizer: Any = None,
        backward: bool = False,
        others: Kept = "counts",
        evaluation: Kept = "counts",
        ranks: Literal["first", "all"] = "first",
        layers: LayerChoice = None,
        logits: bool = False,
        weights: Literal["exact", "float16"] = "exact",
        byte_budget: int | None = None,
    ) -> None:
        if every < 1:
            raise MoedeskError(f"every={every} makes no sense; it is 1 for each training step, n for each n-th")
        for name, value, known in (
            ("others", others, ("counts", "nothing", "all")),
            ("evaluation", evaluation, ("counts", "nothing", "all")),
            ("ranks", ranks, ("first", "all")),
        ):
            if value not in known:
                raise MoedeskError(f"{name}={value!r} makes no sense; it is one of {', '.join(map(repr, known))}")
        self.path = Path(path) if path is not None else None
        self._every, self._tokenizer = every, tokenizer
        self._others: Kept = others
        self._evaluation: Kept = evaluation
        self._ranks, self._layers = ranks, layers
        self._wanted = Wanted(logits=logits, backward=backward)
        self._storage: tuple[Literal["exact", "float16"], int | None] = weights, byte_budget
        self._recording: Recording | Attachment | None = None
        self._backward_before = False
        self._mine = False  # whether the recording ends with the training
        self._first = True
        self._number, self._logged = -1, 0
        self._said: dict[str, float] = {}

    @property
    def recording(self) -> Recording | Attachment | None:
        """What records now, or None."""
        return self._recording

    def close(self) -> None:
        """Finish the capture and take the hooks off the model; does nothing when no training is recorded."""
        recording, self._recording = self._recording, None
        if recording is None:
            return
        atexit.unregister(self.close)
        hooks = recording.hooks
        hooks.steps.end(self._said)
        if not self._mine:
            hooks.steps.leave(self._backward_before)
            hooks.keep(everything=True)
            hooks.evaluating = False
        elif isinstance(recording, Recording):
            recording.__exit__(None, None, None)
        else:
            recording.detach()

    # what a Trainer calls

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, processing_class: Any = None, **kwargs: Any
    ) -> None:
        """Hook the model."""
        self.close()  # an earlier training that raised
        if self._ranks == "first" and not state.is_world_process_zero:
            return
        if getattr(args, "n_gpu", 1) > 1:
            notice("not recorded: with several GPUs in one process the model runs in copies; start one process a GPU")
            return
        wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
        model = model.module if isinstance(model, wrappers) else model
        self._first, self._logged = True, state.global_step
        self._recording = self._start(model, self._tokenizer or processing_class, args)
        hooks = self._recording.hooks
        hooks.rank = int(getattr(args, "process_index", 0))
        self._between(hooks)
        atexit.register(self.close)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say which step the next passes belong to."""
        if self._recording is None:
            return
        hooks = self._recording.hooks
        hooks.steps.end(self._said)
        self._number, self._said = state.global_step + 1, {}
        everything = self._first or self._number % self._every == 0
        hooks.steps.begin(self._number)
        hooks.steps.backward = everything and self._wanted.backward
        hooks.evaluating = False
        _keep(hooks, "all" if everything else self._others)
        self._first = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Passes until the next step are evaluation."""
        if self._recording is not None:
            if state.epoch is not None:
                self._said["epoch"] = float(state.epoch)
            self._between(self._recording.hooks)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Take what the Trainer says of the step that has just ended."""
        if not logs or "loss" not in logs or state.global_step != self._number:
            return
        alone, self._logged = state.global_step - self._logged == 1, state.global_step
        names = ("loss", "learning_rate", "grad_norm") if alone else ("learning_rate", "grad_norm")
        for name in names:
            with contextlib.suppress(KeyError, TypeError, ValueError):  # a logger of one's own may format them
                self._said[name] = float(logs[name])

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Finish."""
        self.close()

    def _start(self, model: nn.Module, tokenizer: Any, args: Any) -> Recording | Attachment:
        weights, byte_budget = self._storage
        self._mine = True
        if self.path is not None:
            path = self.path
            if self._ranks == "all" and getattr(args, "world_size", 1) > 1:
                path = path.with_stem(f"{path.stem}.rank{args.process_index}")
            recording = Recording(model, path, tokenizer, self._layers, self._wanted, weights, byte_budget)
            return recording.__enter__()
        for attachment in attached():
            if attachment.module is model:
                self._mine, self._backward_before = False, attachment.hooks.steps.backward
                if self._wanted.backward:
                    attachment.hooks.outputs.want()
                return attachment
        logits, backward = self._wanted.logits, self._wanted.backward
        return attach(model, tokenizer, layers=self._layers, logits=logits, backward=backward)

    def _between(self, hooks: Hooks) -> None:
        hooks.evaluating = True
        _keep(hooks, self._evaluation)


def _keep(hooks: Hooks, kept: Kept) -> None:
    hooks.keep(everything=kept == "all")
    hooks.recording = kept != "nothing"
