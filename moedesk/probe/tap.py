"""What hooks take from the device: small copies, sent to the host without making the device wait."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from moedesk.core.columns import expert_dtype
from moedesk.probe.binding import Binding
from moedesk.probe.reduction import LayerGroup, reduce
from moedesk.probe.room import Room

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


class Event(NamedTuple):
    """One layer's routing in one call of its experts: copies, on the device.

    Attributes
    ----------
    binding : Binding
    ids : (N, k) int8, int16 or int32 tensor
    weights : (N, k) float tensor or None
    logits : (…, E) float tensor of N rows, or None
    bias : tensor of E floats, or None
        What the router added to its scores, if it did.
    """

    binding: Binding
    ids: Tensor
    weights: Tensor | None = None
    logits: Tensor | None = None
    bias: Tensor | None = None


class Piece:
    """Events of one pass, and what they are reduced to.

    Events on the host are reduced where their groups are asked for first, on the courier's thread; those on a device by
    ``send``, in the model's stream.

    Parameters
    ----------
    events : sequence of Event
    keep_logits : bool
        Whether the groups have logits too.
    nbytes : int
        What the events hold.
    """

    def __init__(self, events: Sequence[Event], keep_logits: bool, nbytes: int) -> None:
        self.nbytes = nbytes
        self._events = events
        self._keep_logits = keep_logits
        self._groups: list[LayerGroup] | None = None

    def send(self, transfer: Transfer) -> None:
        """Reduce on the device and start the copies, if the events are on one."""
        if not self._events[0].ids.is_cpu:
            self._groups = [group.on_its_way(transfer.take) for group in reduce(self._events, self._keep_logits)]
            self._events = ()

    def groups(self) -> list[LayerGroup]:
        """Return the events reduced, layers that are alike together; the second time, what it returned the first time."""
        if self._groups is None:
            self._groups = reduce(self._events, self._keep_logits)
            self._events = ()
        return self._groups


class Tap:
    """Takes the events of the pass under way.

    Parameters
    ----------
    room : Room
    keep_logits : bool
    passed_on : function
        Takes this tap and a piece, when much is held while the pass goes on.

    Attributes
    ----------
    room : Room
        What there is room for; may shrink.
    seen : bool
        Whether an MoE layer ran.
    transfer : Transfer
    pieces : list of Piece
    logits : dict
        Logits and bias of layers whose router ran and whose experts didn't yet, by path.
    """

    __slots__ = ("_events", "_keep_logits", "_nbytes", "_passed_on", "logits", "pieces", "room", "seen", "transfer")

    def __init__(self, room: Room, keep_logits: bool, passed_on: Callable[["Tap", Piece], None]) -> None:
        self.room = room
        self.seen = False
        self.transfer = Transfer()
        self.pieces: list[Piece] = []
        self.logits: dict[str, tuple[Tensor, Tensor | None]] = {}
        self._keep_logits = keep_logits
        self._passed_on = passed_on
        self._events: list[Event] = []
        self._nbytes = 0

    def add(self, event: Event, nbytes: int) -> None:
        """Take one event that holds about so many bytes."""
        self._events.append(event)
        self._nbytes += nbytes + EVENT_BYTES
        if self._nbytes > HELD_BYTES:
            self._passed_on(self, self.flush())

    def flush(self) -> Piece:
        """Make a piece of what is held."""
        piece = Piece(self._events, self._keep_logits, self._nbytes)
        self._events, self._nbytes = [], 0
        piece.send(self.transfer)
        self.pieces.append(piece)
        return piece

    def finish(self) -> None:
        """Make a piece of the rest."""
        if self._events:
            self.flush()
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
    """

    __slots__ = ("outside", "settled", "tap")

    def __init__(self, settled: bool) -> None:
        self.tap: Tap | None = None
        self.settled = settled
        self.outside = 0

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
