"""Which rows overrides of the score changed, worked out behind the calls in which they acted: alike layers and calls at once.

The selection of such a layer runs once in a pass, with what acts on it. What it would have chosen without follows from the logits
alone, which are kept: one run of the selection's own code on those of many calls tells it of all of them.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from copy import copy
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from moedesk.probe.overriding.by_name import by_name
from moedesk.probe.overriding.changes import ONE, rows_differing
from moedesk.probe.overriding.reselection import Reselection
from moedesk.probe.overriding.score_edit import Edits
from moedesk.probe.overriding.way import SelectionCall, Way, never_written
from moedesk.probe.taking.overridden import Later, taken

MOST_NUMBERS = 8192
"""Logits of a call that is compared later; one with more is compared at once, so that little is held."""
_MOST_WAITING = 256
"""Calls that wait; with one more, all of them are compared."""
_FEW = 4096
"""Numbers of tensors of its own that a selection may use behind the logits: they are copied at every call."""
_NOTHING = Edits(())

Numbers = list[float]
"""Those of all rows, one after the other: lists in lists would have the garbage collector look for them."""


class Form(NamedTuple):
    """What calls have in common that are compared together, their number of rows aside.

    Attributes
    ----------
    hidden : dtype
    width, axes : int
        Of what is selected for: how many numbers a row, and how many axes.
    logits : dtype
    logits_axes : int
    device : device
    """

    hidden: torch.dtype
    width: int
    axes: int
    logits: torch.dtype
    logits_axes: int
    device: torch.device

    @classmethod
    def of(cls, hidden: tuple[torch.dtype, torch.Size], logits: Tensor) -> "Form":
        """Return that of a call, of whose input the dtype and the shape are given."""
        dtype, shape = hidden
        return cls(dtype, shape[-1], len(shape), logits.dtype, logits.ndim, logits.device)


class Compared(Later):
    """One call on the host, compared when somebody asks for its rows, with all calls that wait by then."""

    __slots__ = ("_rows", "comparison", "form", "ids", "logits", "own", "weights")

    is_cpu = True

    def __init__(
        self, comparison: "Comparison", hidden: Tensor, logits: Tensor, ids: Numbers, weights: Numbers
    ) -> None:
        self.comparison, self.logits, self.ids, self.weights = comparison, logits, ids, weights
        self.form = hidden.dtype, hidden.shape
        self.own: Sequence[Tensor] = ()
        self._rows: Tensor | None = None

    def rows(self) -> Tensor:
        """Return (N,) bools, which rows differ; nobody may write to it."""
        if self._rows is None:
            self.comparison.work_out()
        assert self._rows is not None
        return self._rows

    def settle(self, plain_ids: Numbers, plain_weights: Numbers) -> None:
        """Know the rows, and let go of what they come from."""
        if self.count == 1:
            self._know([self.ids != plain_ids or self.weights != plain_weights])
            return
        pairs = (self.ids, plain_ids), (self.weights, plain_weights)
        differ = [(np.array(one) != np.array(other)).reshape(self.count, -1).any(-1) for one, other in pairs]
        self._know((differ[0] | differ[1]).tolist())

    def give_up(self) -> None:
        """Count all rows as changed, if it isn't known by now which were: something else has changed since."""
        if self._rows is None:
            self._know([True] * self.count)

    @property
    def count(self) -> int:
        """How many rows it has."""
        return self.form[1][:-1].numel()

    def _know(self, differ: Sequence[bool]) -> None:
        self._rows = self.logits = ONE[differ[0]] if len(differ) == 1 else torch.tensor(differ)
        self.ids = self.weights = []


class Comparison:
    """Compares calls of layers whose selections make the same of the same logits.

    Parameters
    ----------
    way : Way
        Of one of the layers.

    Attributes
    ----------
    own : tuple of str
        Tensors of the module that its selection uses behind the logits, as a bias of the score: they may have changed until calls
        are compared. With any, it is about this one layer.
    """

    def __init__(self, way: Way) -> None:
        assert way.by_name is not None
        assert way.places is not None
        self._way, self._places = way, way.places
        self.own: tuple[str, ...] = ()
        self._run = by_name(way.by_name.function, frozenset({way.operation}))
        self._waiting: deque[Compared] = deque()  # the model's thread adds, the courier's works them out
        self._lock = threading.Lock()

    def of(self, hidden: Tensor, logits: Tensor, output: Any) -> Tensor | Later:
        """Return which of a call's rows have other ids or weights than the selection makes of the logits alone.

        Parameters
        ----------
        hidden : (…, H) tensor
            For which it selected.
        logits : (…, W) tensor
            As the model calculated them; nobody writes to them any more.
        output
            What the selection returned.
        """
        if logits.numel() > MOST_NUMBERS or not logits.is_cpu:
            form = Form.of((hidden.dtype, hidden.shape), logits)
            return rows_differing(*zip(self.plain(form, logits), self.routing(output), strict=True))
        ids, weights = output[self._places[0]], output[self._places[1]]
        one = Compared(self, hidden, logits, ids.flatten().tolist(), weights.flatten().tolist())
        if self.own:
            one.own = [tensor.clone() for tensor in self._tensors()]
        self._waiting.append(one)
        if len(self._waiting) > _MOST_WAITING:
            self.work_out()
        return one

    @torch.no_grad()
    def work_out(self) -> None:
        """Compare all calls that wait."""
        with self._lock:
            waiting = taken(self._waiting)
            try:
                kinds: dict[Form, list[Compared]] = {}
                for one in waiting:
                    if not one.own or _same(one.own, self._tensors()):
                        kinds.setdefault(Form.of(one.form, one.logits), []).append(one)
                for form, alike in kinds.items():
                    self._compare(form, alike)
            finally:
                for one in waiting:
                    one.give_up()

    def _compare(self, form: Form, calls: Sequence[Compared]) -> None:
        logits = [one.logits if form.logits_axes == 2 else one.logits.reshape(-1, self._way.width) for one in calls]
        ids, weights = self.plain(form, logits[0] if len(logits) == 1 else torch.cat(logits))
        if ids.numel() != sum(len(one.ids) for one in calls):  # a router that was changed since tells nothing
            return
        every_id, every_weight, first = ids.flatten().tolist(), weights.flatten().tolist(), 0
        for one in calls:
            end = first + len(one.ids)
            one.settle(every_id[first:end], every_weight[first:end])
            first = end

    def _tensors(self) -> list[Tensor]:
        return [getattr(self._way.module, name) for name in self.own]

    def plain(self, form: Form, logits: Tensor, module: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """Return (N, k) ids and weights that the selection makes of logits; that of another module, if one is given."""
        width = self._way.width
        rows = logits.numel() // width
        shape = (*[1] * (form.axes - 2), rows, form.width)
        hidden = torch.zeros(shape, dtype=form.hidden, device=form.device)  # the logits say it all
        known = logits.reshape(*[1] * (form.logits_axes - 2), rows, width)
        output = self._run.run(module or self._way.module, Reselection(self._way, _NOTHING, known).take, (hidden,), {})
        return self.routing(output)

    def routing(self, output: Any) -> tuple[Tensor, Tensor]:
        """Return (N, k) ids and weights in what a selection returned."""
        ids, weights = (output[place] for place in self._places)
        return ids.reshape(-1, ids.shape[-1]), weights.reshape(-1, weights.shape[-1])


@torch.no_grad()
def comparison(way: Way, seen: SelectionCall) -> Comparison | None:
    """Return what compares calls of a layer later; None if its logits alone don't say what it chooses.

    They do where its selection, given those of some calls in another order or of one row alone, returns for each row the same
    bits.
    """
    if way.by_name is None or way.places is None or seen.choice.shape != seen.weights.shape:
        return None
    if len(seen.args) != 1 or seen.kwargs or not isinstance(hidden := seen.args[0], Tensor) or hidden.ndim < 2:
        return None
    before, selection = dict(vars(way.module)), Reselection(way, _NOTHING)
    output, logits = way.by_name.run(way.module, selection.take, seen.args, {}), selection.logits
    if logits is None or not never_written(logits):
        return None
    form = Form.of((hidden.dtype, hidden.shape), logits)
    compares = Comparison(way)
    given = compares.routing(output)
    rows, number = logits.reshape(-1, way.width), torch.arange(logits.numel() // way.width, device=logits.device)
    for order in (number, number.repeat(2).flip(0), number[:1]):
        if not _same(compares.plain(form, rows[order]), [part[order] for part in given]):
            return None
    own = _needed(way.module, lambda other: _same(compares.plain(form, rows, other), given))
    after = vars(way.module)
    if own is None or before.keys() != after.keys() or any(after[name] is not value for name, value in before.items()):
        return None
    compares.own = own
    return compares


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


def _needed(module: nn.Module, same: Callable[[nn.Module], bool]) -> tuple[str, ...] | None:
    """Names of a module's tensors without which a selection is not the same; None if those can't be copied at every call.

    Each is replaced by what is no number, in a module that stands in for this one.
    """
    found = []
    for kind in ("_parameters", "_buffers"):
        for name, tensor in vars(module)[kind].items():
            if tensor is None:
                continue
            other = copy(module)
            try:
                vars(other)[kind] = {**vars(module)[kind], name: torch.full_like(tensor.detach(), torch.nan)}
                needs = not same(other)
            except RuntimeError:  # of integers there is no such value
                needs = True
            if needs:
                found.append(name)
    within = any(True for child in module.children() for _ in chain(child.parameters(), child.buffers()))
    return None if within or any(getattr(module, name).numel() > _FEW for name in found) else tuple(found)


def kind_of(way: Way, compares: Comparison) -> Hashable:
    """Return what layers have in common whose selections make the same of the same logits."""
    own = vars(way.module)
    if compares.own:
        return way.module
    settings = [(name, own[name]) for name in sorted(own) if not name.startswith("_") and name not in _NO_SETTINGS]
    plain = tuple([(name, value if isinstance(value, _PLAIN) else id(value)) for name, value in settings])
    return way.by_name, way.operation, way.call, way.width, way.experts, way.places, plain


_NO_SETTINGS = frozenset({"training", "forward"})
_PLAIN = (int, float, str, bool, type(None))
