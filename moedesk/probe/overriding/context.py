"""Which tokens the rows of a pass are, and what the pass is for: for overrides that act on some tokens or phases only."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from moedesk.core.override import Override
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.parts import first_tensor
from moedesk.probe.finding.pools import Pool
from moedesk.probe.overriding.captured import Captured, CapturedRouting
from moedesk.probe.taking.bounds import Bounds
from moedesk.probe.taking.calls import Call, CallReader, uses_cache
from moedesk.probe.taking.compiled import apart
from moedesk.probe.taking.tap import recomputing
from moedesk.probe.taking.tokens import HostCall, find_phase

_KEPT = 8
"""Calls of a stack that are remembered for what gradient checkpointing computes again."""


class Pass:
    """One pass under way, as its modules were called.

    Attributes
    ----------
    number : int
        Grows from one pass to the next.
    calls : list of Call
        Outermost first.
    """

    def __init__(self, number: int, training: bool, caches: bool) -> None:
        self.number = number
        self.calls: list[Call] = []
        self._training, self._caches = training, caches
        self._phase: str | None = None

    @property
    def phase(self) -> str:
        """``Phase.label``. Waits for the device where a cache counts its tokens there."""
        if self._phase is None:
            training = self._training
            self._phase = find_phase(
                [] if training else [_on_host(c) for c in self.calls], training, self._caches
            ).label
        return self._phase


class Asking(Protocol):
    """An override that asks for the rows of each call of one layer."""

    @property
    def override(self) -> Override:
        """The override."""

    @property
    def binding(self) -> Binding:
        """The layer."""

    @property
    def captured(self) -> Captured | None:
        """What it replays."""

    def find_rows(self, count: int, device: torch.device) -> Tensor | bool | None:
        """Return which rows of the call it is about: False for none, None for all."""

    def find_replayed(self, count: int, device: torch.device) -> CapturedRouting | None:
        """Return what is replayed in the call."""


class Ready(NamedTuple):
    """What is asked in a call of a layer, worked out beforehand."""

    length: int
    device: torch.device
    rows: Tensor | bool | None
    replayed: CapturedRouting | None


class Context:
    """Hooks that follow the passes of a model.

    Parameters
    ----------
    model : Module
    bindings : sequence of Binding
        All layers of the model.
    asking : sequence of Binding
        Those whose rows will be asked for.
    phased : bool
        Whether phases of passes will be asked for.

    Attributes
    ----------
    last : Pass or None
        The pass under way, or the last one.
    ready : dict of Asking to Ready
        For layers of the call of a stack that is under way.
    """

    def __init__(
        self, model: nn.Module, bindings: Sequence[Binding], asking: Sequence[Binding], phased: bool = True
    ) -> None:
        self._model, self._asking, self._phased = model, asking, phased
        self._unread: list[tuple[str, nn.Module, Sequence[Any], Mapping[str, Any]]] = []
        self.ready: dict[Asking, Ready] = {}
        self._askers: dict[str, list[Asking]] = {}
        self._reader = CallReader()
        self._caches = uses_cache(model)
        self._stacks = {binding.candidate.stack_path: binding.layer.stream for binding in bindings}
        self._open: list[nn.Module] = []
        self._recent: dict[str, list[StackCall]] = {}
        self.last: Pass | None = None
        self._again: dict[nn.Module, StackCall] = {}
        self._handles = Bounds(model, self._stacks, self._opened, self._closed).hook()
        self._follows_blocks = False

    def _follow_blocks(self) -> None:
        """Know calls of blocks again from now on: for passes with gradients, which may be computed a second time."""
        self._follows_blocks = True
        for block, path in {one.candidate.block: one.candidate.stack_path for one in self._asking}.items():
            hook = _entering(self._entered, path)
            self._handles.append(block.register_forward_pre_hook(hook, with_kwargs=True))

    def register(self, one: Asking) -> None:
        """Have what one asks in a call worked out when the first layer of its stack asks: for all at once it takes less time."""
        if one.binding.candidate.pool is None:
            self._askers.setdefault(one.binding.candidate.stack_path, []).append(one)

    def make_ready(self, one: Asking, count: int, device: torch.device) -> Ready | None:
        """Work out what all layers of a stack will ask in its call that is under way; return what one of them asks."""
        if recomputing():
            return None
        found: dict[int, Tensor | bool | None] = {}  # the same for all layers of a stack
        for other in self._askers.get(one.binding.candidate.stack_path, ()):
            key = id(other.override)
            if key not in found:
                found[key] = other.find_rows(count, device)
            replayed = None if other.captured is None else other.find_replayed(count, device)
            self.ready[other] = Ready(count, device, found[key], replayed)
        return self.ready.get(one)

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _opened(self, path: str, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if recomputing():
            return
        self.ready.clear()
        if module in self._open:  # it never left: an interrupt
            self._open.clear()
        if not self._open or self.last is None:
            self._unread.clear()
            training = self._model.training and torch.is_grad_enabled()
            self.last = Pass(0 if self.last is None else self.last.number + 1, training, self._caches)
        self._open.append(module)
        if torch.is_grad_enabled() and not self._follows_blocks:
            self._follow_blocks()
        if path not in self._stacks and not self._phased:
            self._unread.append((path, module, args, kwargs))
            return
        call, ids = self._reader.read(path, module, args, kwargs, _as_it_is)
        if ids is None:  # embeddings: the ids are those of the call around it, if it has as many
            self._read_outer()
            outer = [c.ids for c in reversed(self.last.calls) if c.ids is not None]
            ids = next((given for given in outer if tuple(given.shape) == (call.batch, call.length)), None)
        call.ids = ids
        self.last.calls.append(call)
        if path in self._stacks:
            recent = self._recent.setdefault(path, [])
            recent.append(StackCall(call, self.last))
            del recent[:-_KEPT]

    def _read_outer(self) -> None:
        """Read the calls around that weren't read since nothing but their ids may be needed."""
        assert self.last is not None
        for given in self._unread:
            call, ids = self._reader.read(*given, None)
            call.ids = ids
            self.last.calls.append(call)
        self._unread.clear()

    def _entered(self, path: str, block: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Know a call of a block again by its input, where gradient checkpointing repeats one of several.

        Where there are several of as many rows, waits for the device.
        """
        if not torch.is_grad_enabled():
            return
        hidden, recent = first_tensor((*args, *kwargs.values())), self._recent.get(path, [])
        if hidden is None or not recent:
            return
        with torch.no_grad():
            sums = hidden.sum(-1).view(-1)
        if not recomputing():
            recent[-1].inputs[block] = sums
            return
        alike = [one for one in reversed(recent) if block in one.inputs and one.inputs[block].shape == sums.shape]
        if len(alike) > 1:
            alike = [one for one in alike if torch.equal(one.inputs[block], sums)] or alike
        if alike:
            self._again[block] = alike[0]

    def _closed(self, module: nn.Module, output: Any) -> None:
        self.ready.clear()
        if not recomputing() and module in self._open:
            del self._open[self._open.index(module) :]
        if not self._open:
            self._unread.clear()

    def call(self, binding: Binding, rows: int, unnamed: bool = False) -> "StackCall | None":
        """Return the call of its stack that a layer is in; None if the layer's rows are not its tokens.

        Parameters
        ----------
        rows : int
            That the layer gets.
        unnamed : bool
            Whether its rows are no tokens: then it is the call of the stack around them.
        """
        recent = self._recent.get(binding.candidate.stack_path, [])
        if recomputing():  # what is computed again was called before, maybe not in the last pass
            known = self._again.get(binding.candidate.block)
            candidates = [*([] if known is None else [known]), *reversed(recent)]
        else:
            candidates = recent[-1:]
        return next((found for found in candidates if unnamed or found.rows(binding.candidate.pool) == rows), None)


def _entering(entered: Callable[..., None], path: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        entered(path, module, args, kwargs)

    return apart(hook)


class StackCall:
    """One call of a stack of layers.

    Attributes
    ----------
    call : Call
    of : Pass
    inputs : dict
        By block, the sum of each row that it was given, where that may be computed again.
    """

    def __init__(self, call: Call, of: Pass) -> None:
        self.call, self.of = call, of
        self.inputs: dict[nn.Module, Tensor] = {}
        self._columns: Tensor | None = None
        self._rows: dict[Pool | None, int] = {}
        self._rows_in: dict[tuple[tuple[int, int], torch.device, Pool | None], Tensor | bool | None] = {}
        self._replayed: dict[tuple[int, str], int | None] = {}

    def seen(self, pool: Pool | None) -> Tensor | None:
        """Return (batch · length,) bools, which of its rows a block sees; None for all."""
        marks = self.call.marks
        return None if pool is None or marks is None else (marks.reshape(-1) != 0) == pool.marked

    def rows(self, pool: Pool | None) -> int:
        """Return how many of its rows a block sees. Waits for the device where the block sees some only, once a pass."""
        if pool not in self._rows:
            seen = self.seen(pool)
            self._rows[pool] = self.call.batch * self.call.length if seen is None else int(seen.sum())
        return self._rows[pool]

    @property
    def span(self) -> range | None:
        """Slots in the sequence of all its rows, if all sequences have the same; None if only the device may know."""
        call = self.call
        if not isinstance(call.past, int) or may_be_packed(call):
            return None
        return range(call.past, call.past + call.length)

    def columns(self, device: torch.device, pool: Pool | None = None) -> Tensor:
        """Return slots in the sequence of its rows, (batch · length,), or of those that a block sees."""
        if self._columns is None:
            self._columns = columns_of(self.call, device)
        columns, seen = self._columns.to(device), self.seen(pool)
        return columns if seen is None else columns[seen.to(device)]

    def rows_in(self, columns: tuple[int, int], device: torch.device, pool: Pool | None) -> Tensor | bool | None:
        """Return which of the rows that a block sees are in these slots; on the host None for all and False for none.

        The same for all layers; nobody may write to it.
        """
        key = columns, device, pool
        if key not in self._rows_in:
            self._rows_in[key] = self._find_rows(columns, device, pool)
        return self._rows_in[key]

    def _find_rows(self, columns: tuple[int, int], device: torch.device, pool: Pool | None) -> Tensor | bool | None:
        span, (first, end) = self.span, columns
        if span is not None and first <= span.start and span.stop <= end:
            return None
        if span is not None and (span.stop <= first or end <= span.start):
            return False
        slots = self.columns(device, pool)
        rows = (slots >= first) & (slots < end)
        if device.type != "cpu":
            return rows
        return None if bool(rows.all()) else rows if bool(rows.any()) else False

    def replayed(self, captured: Captured, stream: str, count: int) -> int | None:
        """Return which pass of a capture this call is given again, the same for all layers; None for none."""
        key = id(captured), stream
        if key not in self._replayed:
            self._replayed[key] = captured.find(self.call, stream, count)
        return self._replayed[key]


def may_be_packed(call: Call) -> bool:
    """Return whether a row of a call may hold several sequences: what it was given has to be looked at."""
    if call.positions is None or call.length < 2:
        return False
    known_starts = call.starts is not None and call.batch == 1
    return known_starts or (call.axes == 1 and isinstance(call.past, int) and call.past == 0)


@torch.no_grad()
def columns_of(call: Call, device: torch.device) -> Tensor:
    """Return (batch · length,) slots in the sequence: cached tokens + place in the pass; of a packed row, the positions.

    The same as ``tokens.token_rows`` counts them, without waiting for the device.
    """
    past = call.past.to(device).max() if isinstance(call.past, Tensor) else call.past
    columns = (past + torch.arange(call.length, device=device)).expand(call.batch, -1)
    positions = call.positions
    if positions is None or not may_be_packed(call):
        return columns.reshape(-1)
    positions = positions.to(device)
    if call.starts is not None and call.batch == 1:
        starts = call.starts.to(device).reshape(-1)
        packed = ((starts > 0) & (starts < call.length)).any()
    else:
        begins = positions[:, 1:] == 0
        if call.padding is not None:
            padding = call.padding.to(device)
            begins = begins & ~(padding[:, 1:] | padding[:, :-1])
        packed = begins.any()
    return torch.where(packed, positions.expand(call.batch, -1), columns).reshape(-1)


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor.detach()


def _on_host(call: Call) -> HostCall:
    past = call.past if isinstance(call.past, int) else int(call.past.max())
    paged = call.paged or call.starts is not None
    starts, positions = (
        None if tensor is None or not paged else tensor.cpu().numpy() for tensor in (call.starts, call.positions)
    )
    return HostCall(
        call.path, call.batch, call.length, past, None, positions, None, starts, call.axes,
        call.cache, call.source, call.output, call.caching, call.labelled,
    )  # fmt: skip
