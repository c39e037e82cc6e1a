"""A model's list of breakpoints: what it holds, tells and is told. ``moe``'s own goes on with the model that is attached next."""

import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from moedesk.core.breakpoint import Breakpoint
from moedesk.core.errors import MoedeskError
from moedesk.probe.breaking.hold import Going, Hold
from moedesk.probe.breaking.placed import PlacedBreakpoint

if TYPE_CHECKING:
    from moedesk.probe.attach import Attachment
    from moedesk.probe.breaking.breaker import Breaker

Tell = Callable[[str, Mapping[str, Any], "int | None"], None]
"""Takes a topic, its value and the number of a stream; None for a model that goes to no app."""
TELL_SECONDS = 0.25
"""Between two words about hits."""


class Breakpoints(Sequence[PlacedBreakpoint]):
    """Breakpoints on the routing of one attached model; ``moe.break_on`` adds one.

    Parameters
    ----------
    namespace : mutable mapping
        The user's: of conditions, and of what is typed at a stop.
    clients : function
        How many apps are connected.
    tell : function
        Tells the apps a topic of the model of a stream; called only while a model is attached.
    """

    def __init__(self, namespace: MutableMapping[str, Any], clients: Callable[[], int], tell: Tell) -> None:
        self._namespace, self._tell_apps = namespace, tell
        self.hold = Hold(namespace, clients, self._tell)
        self._placed: tuple[PlacedBreakpoint, ...] = ()
        self._active = True
        self._next = 1
        self._breaker: Breaker | None = None
        self._attachment: Attachment | None = None
        self._told: dict[str, Any] = {}
        self._told_at = 0.0

    def add(self, breakpoint: Breakpoint) -> PlacedBreakpoint:
        """Place a breakpoint.

        Raises
        ------
        MoedeskError
            If it can't break; in one line.
        """
        breakpoint.check(self._attachment.model if self._attachment is not None else None)
        placed = PlacedBreakpoint(self, self._next, breakpoint)
        self._next += 1
        self._placed = (*self._placed, placed)
        self.changed()
        return placed

    def remove(self, placed: PlacedBreakpoint) -> None:
        """Take a breakpoint out; one that isn't in the list is left alone."""
        kept = tuple(other for other in self._placed if other is not placed)
        if kept != self._placed:
            self._placed = kept
            self.changed()

    def clear(self) -> None:
        """Take all out; a model that is stopped goes on."""
        self._placed = ()
        self._end_step()
        self.hold.order(Going.RESUME)

    @property
    def active(self) -> bool:
        """Whether any of them stops or prints; False leaves the list as it is, and the model without their hooks."""
        return self._active

    @active.setter
    def active(self, active: bool) -> None:
        self._active = bool(active)
        self._end_step()

    def attach(self, attachment: "Attachment") -> None:
        """Have them break in a model that is attached now."""
        from moedesk.probe.breaking.breaker import Breaker  # it needs torch
        from moedesk.probe.taking.vocabulary import Vocabulary

        self.let_go()
        self._attachment, attachment.breakpoints = attachment, self
        texts = _texts(Vocabulary.of(attachment.tokenizer, attachment.module))
        self._breaker = Breaker(
            attachment.module, attachment.tracer, texts, self._stopping, self.hold, self._namespace, self._hit
        )
        self.changed()

    def take_over(self, other: "Breakpoints") -> None:
        """Take those of another list at the end of this one, numbered anew, with their hits."""
        for placed in other:
            placed.move(self, self._next)
            self._next += 1
        self._placed, other._placed = (*self._placed, *other), ()
        self.changed()

    def let_go(self) -> None:
        """Take every hook off the model; one that is stopped goes on."""
        breaker, self._breaker, self._attachment = self._breaker, None, None
        if breaker is not None:
            breaker.close()
            self.hold.order(Going.RESUME)

    def changed(self) -> None:
        """Put hooks where they are needed now, and tell what there is."""
        if self._attachment is not None:
            for placed in self._placed:
                placed.problem = _problem(placed.breakpoint, self._attachment)
        if self._breaker is not None:
            self._breaker.fit()
        self._say()

    def order(self, value: Mapping[str, Any]) -> None:
        """Do what an app asks: ``add``, ``change``, ``remove``, ``switch``, ``activate`` or ``clear``."""
        try:
            self._do(value)
        except MoedeskError as error:
            self._say(problem=str(error))

    def tell_hits(self) -> None:
        """Tell what was hit and is not told yet: at the end of a cell, after which no pass may come for long."""
        if self.told != self._told:
            self._say()

    def go_on(self, value: Mapping[str, Any]) -> None:
        """Let a stopped model go on as an app asks: ``resume``, ``step_layer`` or ``step_token``."""
        if value.get("do") in set(Going):
            self.hold.order(Going(value["do"]))

    @contextmanager
    def passed_over(self) -> Iterator[int]:
        """Have none stop, print or count in the block; yields how many are on. A step goes on behind it."""
        breaker = self._breaker
        if breaker is None:
            yield 0
            return
        with breaker.suspended():
            yield len(self._stopping())

    @property
    def told(self) -> dict[str, Any]:
        """What apps are told."""
        return {"active": self._active, "entries": [placed.told() for placed in self._placed]}

    @overload
    def __getitem__(self, place: int) -> PlacedBreakpoint: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[PlacedBreakpoint]: ...
    def __getitem__(self, place: int | slice) -> PlacedBreakpoint | Sequence[PlacedBreakpoint]:
        return self._placed[place]

    def __iter__(self) -> Iterator[PlacedBreakpoint]:
        return iter(self._placed)

    def __len__(self) -> int:
        return len(self._placed)

    def __repr__(self) -> str:
        if not self._placed:
            return 'no breakpoints; moe.break_on("layer:3 margin<0.01") places one'
        lines = [repr(placed) for placed in self._placed]
        return "\n".join(lines if self._active else ["deactivated; moe.breakpoints.active = True", *lines])

    def _stopping(self) -> Sequence[PlacedBreakpoint]:
        """Those that are on, if any are."""
        return [placed for placed in self._placed if placed.on] if self._active else ()

    def _end_step(self) -> None:
        if self._breaker is not None:
            self._breaker.end_step()
        self.changed()

    def _hit(self, stopping: bool) -> None:
        """Tell what was hit: at a stop, and at the end of a pass a few times a second."""
        if stopping or time.monotonic() - self._told_at >= TELL_SECONDS:
            self.tell_hits()

    def _say(self, problem: str = "") -> None:
        self._told, self._told_at = self.told, time.monotonic()
        self._tell("breakpoints", {**self._told, "problem": problem} if problem else self._told)

    def _tell(self, topic: str, value: Mapping[str, Any]) -> None:
        if self._attachment is not None:
            self._tell_apps(topic, value, self._attachment.stream)

    def _do(self, value: Mapping[str, Any]) -> None:
        match value.get("do"):
            case "add":
                self.add(_asked(value))
            case "change":
                placed, breakpoint = self._find(value), _asked(value)
                breakpoint.check(self._attachment.model if self._attachment is not None else None)
                placed.replace(breakpoint)
                self.changed()
            case "remove":
                self._find(value).remove()
            case "switch":
                self._find(value).on = bool(value.get("on"))
            case "activate":
                self.active = bool(value.get("on", value.get("active", True)))
            case "clear":
                self.clear()
            case other:
                raise MoedeskError(f"no such order for breakpoints: {other!r}")

    def _find(self, value: Mapping[str, Any]) -> PlacedBreakpoint:
        for placed in self._placed:
            if placed.id == value.get("id"):
                return placed
        raise MoedeskError(f"there is no breakpoint {value.get('id')!r} any more")


def _asked(value: Mapping[str, Any]) -> Breakpoint:
    given = value.get("breakpoint")
    if given is None:
        given = {name: value[name] for name in ("text", "log", "condition", "ignore") if name in value}
    if not isinstance(given, Mapping):
        raise MoedeskError("a breakpoint is an object with a text")
    return Breakpoint.from_json(given)


def _problem(breakpoint: Breakpoint, attachment: "Attachment") -> str:
    """Why a breakpoint can't break in a model, in one line; empty if it can."""
    try:
        breakpoint.check(attachment.model)
    except MoedeskError as error:
        return str(error)
    return ""


def _texts(give: Callable[[np.ndarray], list[bytes]] | None) -> Callable[[np.ndarray], list[str]]:
    """The texts of token ids as a capture has them."""

    def texts(ids: np.ndarray) -> list[str]:
        ids = np.asarray(ids, np.int64)
        if give is None:
            return [f"⟨{token_id}⟩" for token_id in ids.tolist()]
        return [text.decode("utf-8", "backslashreplace") for text in give(ids)]

    return texts
