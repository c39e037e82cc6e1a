"""The pass that runs: what it was called with, read on the host while it runs."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from moedesk.core.columns import PASS, Phase
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.discovery import find_candidates
from moedesk.probe.notice import notice
from moedesk.probe.taking.batch import arrive
from moedesk.probe.taking.bounds import Bounds
from moedesk.probe.taking.calls import Call, CallReader
from moedesk.probe.taking.compiled import CallsAround
from moedesk.probe.taking.overridden import Changed, listen
from moedesk.probe.taking.room import Room
from moedesk.probe.taking.tap import Current, Tap, recomputing
from moedesk.probe.taking.tokens import find_phase, token_kinds, token_rows
from moedesk.probe.tracer import Tracer

ARRIVAL_SECONDS = 1.0
"""How long the numbers of sequences are waited for; a sink that hangs may keep them back."""


@dataclass
class OpenCall:
    """A call that has begun and not ended.

    Attributes
    ----------
    module : Module
    call : Call
    ids : tensor or None
        Its token ids.
    rows : array or None
        Its token rows, dtype ``columns.TOKEN``, once asked for; ``numbered`` if with the numbers of their sequences.
    matching : dict
        Which rows satisfy a filter by their tokens, by its text and the rows of a layer's call: for all layers the same.
    idle : int
        The state of the breakpoints, as ``Breaker`` counts them, in which none of its tokens can match; -1 for none.
    done : dict
        Token rows that each layer has seen by now.
    """

    module: nn.Module
    call: Call
    ids: Tensor | None
    rows: np.ndarray | None = None
    numbered: bool = False
    idle: int = -1
    matching: dict[tuple[str, int | None, int], npt.NDArray[np.bool_]] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)


class UnderWay:
    """Follows the passes of an attached model with hooks of its own, which wait for the device.

    Parameters
    ----------
    model : Module
    tracer : Tracer
        Of its attachment.
    began : function
        Called when a pass begins, before anything of it is read.
    ended : function
        Called when it is over.

    Attributes
    ----------
    model : Module
    number : int
        Of the pass: how many were delivered since the model was attached.
    label : str
        What the user says the pass is.
    """

    def __init__(self, model: nn.Module, tracer: Tracer, began: Callable[[], None], ended: Callable[[], None]) -> None:
        self.model, self._tracer = model, tracer
        self._began, self._ended = began, ended
        stacks = {candidate.stack_path: candidate.stream for candidate in find_candidates(model)}
        self._stacks = stacks
        self._bounds = Bounds(model, stacks, self._open, self._close)
        self._reader = CallReader(tracer.hooks.identities)
        self._kinds = token_kinds(getattr(model, "config", None))
        self._calls: list[OpenCall] = []
        self._seen: list[Call] = []
        self._header: np.ndarray | None = None
        self._training = False
        self._misfits: set[str] = set()
        self._thread = 0
        self._sleeping = False
        self._told = Current(settled=False)
        listen(self._told)
        self.number = 0
        self.label = ""

    def hook(self) -> list[Any]:
        """Hook the model; return the handles."""
        handles: Sequence[Any | CallsAround] = self._bounds.hook()
        return list(handles)

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """Take no note of passes in the block: those that somebody runs while this one is stopped."""
        self._sleeping = True
        try:
            yield
        finally:
            self._sleeping = False

    def forget(self) -> None:
        """Forget a pass that was left in the middle."""
        self._calls.clear()
        self._told.tap = None

    @property
    def here(self) -> bool:
        """Whether a pass runs, in the thread that asks."""
        return bool(self._calls) and self._thread == threading.get_ident() and not recomputing()

    @property
    def header(self) -> np.ndarray:
        """(1,) what is known of the pass by now, dtype ``columns.PASS``."""
        if self._header is None:
            self._header = np.zeros(1, PASS)
            evaluating = self._tracer.hooks.evaluating and not self._training
            calls = [arrive(call) for call in self._seen]
            phase = find_phase(calls, self._training, self._tracer.hooks.caches)
            self._header["id"] = self.number
            self._header["phase"] = Phase.EVAL if evaluating else phase
        return self._header

    def overridden(self, binding: Binding) -> Changed | None:
        """Return what overrides changed in the call of a layer that comes now; ask once a call."""
        tap = self._told.tap
        calls = tap.overridden.pop(binding.candidate.experts, []) if tap is not None else []
        return calls[-1].now() if calls else None

    def rows(self, found: OpenCall, numbered: bool = False) -> np.ndarray:
        """Return the token rows of the call of a stack, dtype ``columns.TOKEN``.

        Parameters
        ----------
        found : OpenCall
        numbered : bool
            With the numbers of their sequences, as the recording numbers them: waits for the passes before. Else these are -1.
        """
        if found.rows is None:
            call = arrive(found.call)
            found.rows = token_rows(call, np.full((call.batch, call.length), -1), self._kinds)
            found.rows["pass"] = self.number
        if numbered and not found.numbered:
            found.numbered = True
            streams = [call for call in self._seen if call.path in self._stacks or call is found.call]
            sequences = self._tracer.courier.sequences_of([arrive(call) for call in streams], ARRIVAL_SECONDS)
            if sequences is not None:
                of_call = next(numbers for call, numbers in zip(streams, sequences, strict=True) if call is found.call)
                found.rows["sequence"] = of_call.reshape(-1)
        return found.rows

    def enter(self, binding: Binding, found: OpenCall | None, count: int) -> int | None:
        """Return the first of the token rows that a layer is called with now; a layer may be called with some after the other.

        Call it once a call. None if the layer's rows are not the tokens of the call it is in.
        """
        path = binding.layer.path
        if found is None or path in self._misfits:
            return None
        first, rows = found.done.get(path, 0), self.rows(found)
        found.done[path] = first + count
        return first if first + count <= len(rows) else None

    def stack_of(self, binding: Binding) -> OpenCall | None:
        """Return the call of the stack that a layer is in, or None if none is open."""
        stack = binding.candidate.stack_path
        for opened in reversed(self._calls):
            if stack in (opened.call.path, self._bounds.stack_for(opened.call, self._seen)):
                return opened
        return None

    def _open(self, path: str, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if self._sleeping or recomputing() or (self._calls and self._thread != threading.get_ident()):
            return
        if any(opened.module is module for opened in self._calls):  # it never left: an interrupt that hooks don't see
            self._calls.clear()
        if not self._calls:
            self._begin()
        copy = _arrived if self._bounds.tells(path, module) else None
        call, ids = self._reader.read(path, module, args, kwargs, copy)
        if ids is None:  # embeddings: the ids are those of the call around it, if it has as many
            outer = (opened.ids for opened in reversed(self._calls) if opened.ids is not None)
            ids = next((given for given in outer if tuple(given.shape) == (call.batch, call.length)), None)
        if ids is not None and copy is not None:
            call.ids = copy(ids)
        self._calls.append(OpenCall(module, call, ids))
        self._seen.append(call)
        self._header = None

    def _begin(self) -> None:
        self._thread = threading.get_ident()
        self._began()
        self._seen.clear()
        self._told.tap = Tap(Room.EVERYTHING, False, lambda tap, piece: None)
        self.number, self.label = self._tracer.passes, self._tracer.hooks.label
        self._training = self.model.training and torch.is_grad_enabled()

    def _close(self, module: nn.Module, output: Any) -> None:
        if self._sleeping or recomputing() or self._thread != threading.get_ident():
            return
        call = None
        while self._calls:
            opened = self._calls.pop()
            if opened.module is module:
                self._check(opened)
                call = opened.call
                break
        if call is not None and output is not None and call.path in self._stacks:
            self._reader.finish(call, output, self._stacks[call.path] == "encoder")
        if call is not None and not self._calls:
            self._told.tap = None
            self._ended()

    def _check(self, opened: OpenCall) -> None:
        """Say of which layers the rows were not the tokens after all."""
        for path, count in opened.done.items():
            if opened.rows is not None and count != len(opened.rows):
                self._misfits.add(path)
                notice(
                    f"{path}: its {count} rows are not the {len(opened.rows)} tokens, so breakpoints there know no tokens"
                )


def _arrived(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)
