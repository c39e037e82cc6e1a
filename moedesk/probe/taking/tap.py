"""What hooks take from the device: small copies, sent to the host without making the device wait."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from moedesk.core.columns import expert_dtype
from moedesk.probe.taking.event import Event, Stack
from moedesk.probe.taking.held import FEW, HeldLogits, Hold, Source, copied
from moedesk.probe.taking.reduction import LayerGroup, reduce
from moedesk.probe.taking.room import Room
from moedesk.probe.taking.shelves import Kind, Shelves

HELD_BYTES = 4 << 20
"""Held of a pass before it is reduced: all layers at once in decoding, which saves launches; a few in a long prefill."""
EVENT_BYTES = 2048
"""What the objects of one event take, their values aside."""

_INTEGERS = {"int8": torch.int8, "int16": torch.int16, "int32": torch.int32}


class Transfer:
    """Copies of one pass on their way to the host.

    On CUDA they go to pinned memory and ``wait`` waits for an event, on the courier's thread; on other devices what is taken is
    copied there and then, on the courier's thread as well.
    """

    def __init__(self) -> None:
        self._events: list[torch.cuda.Event] = []
        self._devices: set[torch.device] = set()

    def take(self, tensor: Tensor) -> Tensor:
        """Start the copy of a tensor that nobody changes any more."""
        tensor = tensor.detach()
        if not tensor.is_cuda:
            return tensor
        self._devices.add(tensor.device)
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)

    def copy(self, tensor: Tensor) -> Tensor:
        """Start the copy of a tensor that the model or the caller may change later."""
        return self.take(tensor) if tensor.is_cuda else own(tensor)

    def send(self) -> None:
        """Mark the end of the copies."""
        for device in self._devices:
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(device))
            self._events.append(event)

    def wait(self) -> None:
        """Wait until the copies have arrived."""
        for event in self._events:
            event.synchronize()


class Piece:
    """Events of one pass, and what they are reduced to.

    Events on the host are reduced where their groups are asked for first, on the courier's thread; those on a device by
    ``send``, in the model's stream.

    Parameters
    ----------
    events : sequence of Event or Stack
    keep_logits : bool
        Whether the groups have logits too.
    nbytes : int
        What the events hold.

    Attributes
    ----------
    has_logits : bool
        Whether any of the events has.
    """

    def __init__(self, events: Sequence[Event | Stack], keep_logits: bool, nbytes: int) -> None:
        self.nbytes = nbytes
        self._events = events
        self._keep_logits = keep_logits
        self.has_logits = any(event.logits is not None for event in events)
        self._spared = False
        self._groups: list[LayerGroup] | None = None

    def pass_on(self) -> int:
        """Return what it holds; from now on ``nbytes`` is about what stays of that once it is reduced."""
        held = self.nbytes
        if not self._keep_logits:
            some = [part.ids for part in self._groups or self._events]
            self.nbytes = sum(ids.nbytes + 4 * ids.numel() + 8 * ids.numel() // ids.shape[-1] for ids in some)
        return held

    def spare(self) -> None:
        """Do without logits, and what is worked out of them."""
        self._spared = True

    def send(self, transfer: Transfer) -> None:
        """Reduce on the devices and start the copies, if any of the events is on one."""
        if not all(event.ids.is_cpu for event in self._events):
            self._groups = [group.on_its_way(transfer.take) for group in reduce(self._events, self._keep_logits)]
            self._events = ()

    def groups(self) -> list[LayerGroup]:
        """Return the events reduced, layers that are alike together; again without doing it again."""
        if self._groups is None:
            events = [event.without_logits() for event in self._events] if self._spared else self._events
            self._groups = reduce(events, self._keep_logits)
            self._events = ()
        return [group.without_logits() for group in self._groups] if self._spared else self._groups


class Tap:
    """Takes the events of the pass under way.

    Parameters
    ----------
    room : Room
    keep_logits : bool
    passed_on : function
        Takes this tap and a piece, when much is held while the pass goes on.
    lengths : dict, optional
        How long the shelves are on which a long pass is copied; kept from pass to pass.

    Attributes
    ----------
    room : Room
        What there is room for; may shrink.
    seen : bool
        Whether an MoE layer ran.
    transfer : Transfer
    pieces : list of Piece
    logits : dict
        Logits and bias of layers whose router ran and whose experts didn't yet, by path, each with its version, which is -1 for
        a copy.
    held : list of Hold or None
        Takes what need not be copied at once; None in a long pass.
    shelves : Shelves
        Where a long pass on the host is copied.
    spared : bool
        Whether logits were left behind that there was no room for.
    spoiled : list of Source
        Layers whose tensors changed while they were held: the pass can't be used.
    overridden : dict
        What overrides changed, ``overridden.Changed``, call by call, by the experts of the layer.
    """

    __slots__ = (
        "_events", "_keep_logits", "_lengths", "_nbytes", "_passed_on", "held", "logits", "overridden", "pieces",
        "room", "seen", "shelves", "spared", "spoiled", "transfer",
    )  # fmt: skip

    def __init__(
        self,
        room: Room,
        keep_logits: bool,
        passed_on: Callable[["Tap", Piece], None],
        lengths: dict[Kind, int] | None = None,
    ) -> None:
        self.room = room
        self.seen = False
        self.spared = False
        self.transfer = Transfer()
        self.pieces: list[Piece] = []
        self.logits: dict[str, HeldLogits] = {}
        self.held: list[Hold] | None = None
        self.spoiled: list[Source] = []
        self.overridden: dict[nn.Module, list[Any]] = {}
        self._keep_logits = keep_logits
        self._passed_on = passed_on
        self._lengths = {} if lengths is None else lengths
        self.shelves = Shelves(self._lengths)
        self._events: list[Event | Stack] = []
        self._nbytes = 0

    def copy(self, column: str, tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return a copy that has no gradient: of a long pass on the host in ``dtype``, and beside those of the same column."""
        if tensor.is_cpu and tensor.numel() > FEW * tensor.shape[-1]:
            return self.shelves.copy(column, tensor, dtype)
        return own(tensor)

    def takes_logits(self) -> bool:
        """Return whether there is room for logits that are at hand; if not but for the rest, the pass is marked."""
        self.spared |= self.room is Room.ROUTES
        return self.room is Room.EVERYTHING

    def shrink(self, room: Room) -> None:
        """Go on with no more room than that; what there is no room for any more is left out of the whole pass."""
        self.room = min(self.room, room)
        if self.room < Room.EVERYTHING:
            self.spared |= any(piece.has_logits for piece in self.pieces)
            for piece in self.pieces:
                piece.spare()

    def expect(self, rows: int) -> None:
        """Hold what comes if it is of a short pass: one of few rows from its beginning, outside inference mode."""
        if not 0 < rows <= FEW:
            self._settle()
            self.held = None
        elif not self.seen and self.room >= Room.ROUTES and not torch.is_inference_mode_enabled():
            self.held = []

    def owned_logits(self, source: Source) -> tuple[Tensor | None, Tensor | None]:
        """Return copies of a layer's logits and bias, if its router ran."""
        given = self.logits.pop(source.binding.candidate.path, None)
        if given is None:
            return None, None
        logits, version, bias, bias_version = given
        if version < 0:
            return logits, bias
        if logits._version != version or (bias is not None and bias._version != bias_version):
            self._spoil([source])
        return own(logits), None if bias is None else own(bias)

    def _settle(self) -> None:
        """Copy what is held."""
        if not self.held:
            return
        held, self.held = self.held, []
        stacks, changed = copied(held)
        self._events += stacks
        self._nbytes += sum(stack.nbytes + EVENT_BYTES for stack in stacks)
        if changed:
            self._spoil(changed)

    def _spoil(self, sources: Sequence[Source]) -> None:
        for source in sources:
            source.trusted = False
        self.spoiled += sources
        self.room, self.held = Room.NOTHING, None

    def add(self, event: Event, nbytes: int) -> None:
        """Take one event that holds about so many bytes."""
        if self.held:  # first what came first
            self._settle()
        self._events.append(event)
        self._nbytes += nbytes + EVENT_BYTES
        if self._nbytes > HELD_BYTES:
            self._passed_on(self, self.flush())

    def flush(self) -> Piece:
        """Make a piece of what is held."""
        piece = Piece(self._events, self._keep_logits, self._nbytes)
        self._events, self._nbytes, self.shelves = [], 0, Shelves(self._lengths)
        piece.send(self.transfer)
        self.pieces.append(piece)
        return piece

    def finish(self) -> None:
        """Make a piece of the rest."""
        self._settle()
        if self._events:
            self.flush()
        for piece in self.pieces if self.spared else ():
            piece.spare()
        for calls in self.overridden.values():
            calls[:] = [call.through(self.transfer.take) for call in calls]
        self.transfer.send()


class Current:
    """What the hooks of one model share: the tap of the pass under way, if there is one.

    Attributes
    ----------
    tap : Tap or None
    settled : bool
        Whether a call without a pass is outside any: not while recording is off, nor in a pass that began before it was on.
    outside : int
        Calls of MoE layers outside any pass.
    lengths : dict
        Of the shelves of its taps.
    """

    __slots__ = ("__weakref__", "lengths", "outside", "settled", "tap")

    def __init__(self, settled: bool) -> None:
        self.tap: Tap | None = None
        self.settled = settled
        self.outside = 0
        self.lengths: dict[Kind, int] = {}

    def stray(self) -> None:
        """Take note of a layer's call without a pass."""
        if self.settled and not recomputing():
            self.outside += 1


_graph_task = torch._C._current_graph_task_id


def recomputing() -> bool:
    """Return whether a backward pass is running: gradient checkpointing then computes forwards a second time."""
    return _graph_task() != -1


def own(tensor: Tensor) -> Tensor:
    """Return a copy that has no gradient."""
    return (tensor.detach() if tensor.requires_grad else tensor).clone()


def small_integers(experts: int) -> torch.dtype:
    """Return the smallest integers that hold a layer's expert ids."""
    return _INTEGERS[expert_dtype(experts).name]


def small_ids(ids: Tensor, experts: int) -> Tensor:
    """Return a copy of expert ids in the smallest integers that hold them."""
    return ids.detach().to(small_integers(experts), copy=True)
