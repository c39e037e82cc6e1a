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


class Form(NamedTuple):
    """What calls have in common that are compared together, their number of rows aside.

    Attributes
    ----------
    hidden : dtype
    width : int
        Of what is selected for, and how many axes it has.
    axes : int
    logits : dtype
    logits_axes : int
    device
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
    """One call, compared when somebody asks for its rows, with all calls that wait by then."""

    __slots__ = ("_rows", "choice", "comparison", "form", "logits", "own", "versions", "weights")

    def __init__(
        self, comparison: "Comparison", hidden: Tensor, logits: Tensor, choice: Tensor, weights: Tensor
    ) -> None:
        self.comparison, self.logits, self.choice, self.weights = comparison, logits, choice, weights
        self.form = hidden.dtype, hidden.shape
        self.own: Sequence[Tensor] = ()
        self.versions = None if weights.is_inference() else (choice._version, weights._version)
        self._rows: Tensor | None = None

    @property
    def is_cpu(self) -> bool:
        """Whether its rows are on the host."""
        return self.logits.is_cpu

    @property
    def as_it_was(self) -> bool:
        """Whether nobody wrote to its ids and weights since."""
        return self.versions is None or self.versions == (self.choice._version, self.weights._version)

    def rows(self) -> Tensor:
        """Return (N,) bools, which rows differ; nobody may write to it."""
        if self._rows is None:
            self.comparison.work_out()
        assert self._rows is not None
        return self._rows

    def settle(self, rows: Tensor | None = None) -> None:
        """Know the rows, all of them if it can't be told which, and let go of what they come from."""
        if self._rows is None:
            if rows is None:
                rows = torch.ones(self.weights.shape[:-1].numel(), dtype=torch.bool, device=self.logits.device)
            self._rows = rows
            self.logits = self.choice = self.weights = rows


class Comparison:
    """Compares calls of layers whose selections make the same of the same logits.

    Parameters
    ----------
    way : Way
        Of one of the layers.
    copies : bool
        Whether the block may write to what its selection returned.

    Attributes
    ----------
    own : tuple of str
        Tensors of the module that its selection uses behind the logits, as a bias of the score: they may have changed until calls
        are compared. With any, it is about this one layer.
    """

    def __init__(self, way: Way, copies: bool = False) -> None:
        assert way.by_name is not None
        assert way.places is not None
        self._way, self._places, self._copies = way, way.places, copies
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
        choice, weights = output[self._places[0]], output[self._places[1]]
        if logits.numel() > MOST_NUMBERS:
            form = Form.of((hidden.dtype, hidden.shape), logits)
            return rows_differing(*zip(self.plain(form, logits), _rows(weights, choice), strict=True))
        if self._copies or weights.is_inference():
            choice, weights = choice.clone(), weights.clone()
        one = Compared(self, hidden, logits, choice, weights)
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
            kinds: dict[Form, list[Compared]] = {}
            for one in taken(self._waiting):
                if not one.as_it_was:
                    self._copies = True
                if one.as_it_was and all(map(torch.equal, one.own, self._tensors())):
                    kinds.setdefault(Form.of(one.form, one.logits), []).append(one)
                else:
                    one.settle()
            for form, alike in kinds.items():
                try:
                    self._compare(form, alike)
                finally:
                    for one in alike:  # a router that was changed since tells nothing: all its rows count as changed
                        one.settle()

    def _compare(self, form: Form, calls: Sequence[Compared]) -> None:
        columns = [
            torch.cat([part.reshape(-1, part.shape[-1]) for part in column])
            for column in zip(*((one.weights, one.choice, one.logits) for one in calls), strict=True)
        ]
        weights, choice, logits = columns
        plain = self.plain(form, logits)
        if plain[0].shape != weights.shape:
            return
        differ = rows_differing(*zip(plain, (weights, choice), strict=True))
        alone = differ.is_cpu and len(differ) == len(calls)
        counts = [one.logits.numel() // self._way.width for one in calls]
        parts = [ONE[one] for one in differ.tolist()] if alone else differ.split(counts)
        for one, part in zip(calls, parts, strict=True):
            one.settle(part)

    def _tensors(self) -> list[Tensor]:
        return [getattr(self._way.module, name) for name in self.own]

    def plain(self, form: Form, logits: Tensor, module: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """Return (N, k) weights and ids that the selection makes of logits; that of another module, if one is given."""
        rows = logits.numel() // self._way.width
        some = [1] * (form.axes - 2)
        hidden = torch.zeros(*some, rows, form.width, dtype=form.hidden, device=form.device)  # the logits say it all
        known = logits.reshape(*[1] * (form.logits_axes - 2), rows, -1)
        output = self._run.run(module or self._way.module, Reselection(self._way, _NOTHING, known).take, (hidden,), {})
        return _rows(output[self._places[1]], output[self._places[0]])


def _rows(weights: Tensor, choice: Tensor) -> tuple[Tensor, Tensor]:
    return weights.reshape(-1, weights.shape[-1]), choice.reshape(-1, choice.shape[-1])


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
    written = any(output[place]._version != seen.output[place]._version for place in way.places)
    compares, given = Comparison(way, copies=written), _rows(output[way.places[1]], output[way.places[0]])
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
