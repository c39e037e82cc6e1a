"""What apps are told of overrides, and what they order."""

import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.core.override_file import kept_of

if TYPE_CHECKING:
    from moedesk.link.server import LinkServer
    from moedesk.probe.attach import Attachment
    from moedesk.probe.console.turns import Turns
    from moedesk.probe.overriding.overrides import Overrides

TOPIC = "overrides"
COUNT_SECONDS = 0.5
"""Between two looks at how many rows were changed."""
WAITS = "it waits for the cell that runs: how this model selects its experts has to be found out first"


@dataclass
class _Followed:
    """What is told of one model's list.

    Attributes
    ----------
    changed : function
        What the list calls.
    note : str
        What became of the last order, if there is something to say.
    said : list of (int, int)
        What was told last of how many rows each override changed.
    """

    changed: Callable[[], None]
    note: str = ""
    said: list[tuple[int, int]] = field(default_factory=list)


class OverrideLink:
    """Tells apps how the lists of attached models stand and does what they order.

    Parameters
    ----------
    overrides : function
        Gives the list of a stream's model, and that of ``moe``'s for None; raises ``MoedeskError`` without a model.
    server : function
        Gives the link, or None as long as there is none.
    turns : Turns or None
        Of the kernel, for what has to wait for the main thread.
    """

    def __init__(
        self,
        overrides: "Callable[[object], Overrides]",
        server: "Callable[[], LinkServer | None]",
        turns: "Turns | None" = None,
    ) -> None:
        self._overrides, self._server, self.turns = overrides, server, turns
        self._followed: weakref.WeakKeyDictionary[Overrides, _Followed] = weakref.WeakKeyDictionary()
        self._ended = threading.Event()
        self._counting: threading.Thread | None = None
        self._starting = threading.Lock()
        self._heard: list[Callable[[Attachment], None]] = []

    def follow(self, overrides: "Overrides") -> None:
        """Tell of this list from now on."""
        from moedesk.probe.attach import heard

        self._heard = heard
        if self._attached not in heard:
            heard.append(self._attached)
        if overrides not in self._followed:
            changed = partial(self._changed, weakref.ref(overrides))
            self._followed[overrides] = _Followed(changed)
            overrides.changed.append(changed)
            self.tell(overrides)

    def tell(self, overrides: "Overrides") -> None:
        """Tell how a list stands to the sessions of its model."""
        from moedesk.probe.attach import attachment_of

        server, followed, model = self._server(), self._followed.get(overrides), overrides.model
        attachment = None if model is None else attachment_of(model)
        if server is None or followed is None or attachment is None or attachment.stream is None:
            return
        value = overrides.told()
        value["note"] = followed.note or value["note"]
        followed.said = [(entry["id"], entry["acted"]) for entry in value["entries"]]
        server.tell(TOPIC, value, attachment.stream)

    def _attached(self, attachment: "Attachment") -> None:
        for overrides in list(self._followed):
            if overrides.model is attachment.module:
                self.tell(overrides)

    def close(self) -> None:
        """Count no more."""
        if self._attached in self._heard:
            self._heard.remove(self._attached)
        self._ended.set()
        counting = self._counting
        if counting is not None:
            counting.join(2 * COUNT_SECONDS)
        for overrides, followed in list(self._followed.items()):
            overrides.changed.remove(followed.changed)
            overrides.close()
        self._followed.clear()

    def order(self, value: Mapping[str, Any]) -> None:
        """Do what an app ordered; a mistake in it is told. What needs the model to run waits for the main thread."""
        try:
            overrides = self._overrides(value.get("stream"))
        except MoedeskError:
            return  # there is no session to tell
        self.follow(overrides)
        try:
            named = [one for one in _named(value) if one is not None]
            anew = any(
                one.kind is OverrideKind.TOP_K for one in (*named, *(entry.override for entry in overrides.entries))
            )
            waits = self.turns is not None and (anew or not all(overrides.layers.knows(one) for one in named))
        except MoedeskError as error:
            self._say(overrides, str(error))
            return
        if not waits:
            self._do(overrides, value)
            return
        self._say(overrides, WAITS)
        assert self.turns is not None
        self.turns.ask(lambda: self._do(overrides, value))

    def _do(self, overrides: "Overrides", value: Mapping[str, Any]) -> None:
        try:
            self._followed[overrides].note = ""
            deed(overrides, value)
        except MoedeskError as error:
            self._say(overrides, str(error))

    def _say(self, overrides: "Overrides", note: str) -> None:
        self._followed[overrides].note = note
        self.tell(overrides)

    def _changed(self, of: "weakref.ref[Overrides]") -> None:
        overrides = of()
        followed = None if overrides is None else self._followed.get(overrides)
        if overrides is None or followed is None:
            return
        followed.note = ""
        self.tell(overrides)
        with self._starting:
            if overrides.acting and self._counting is None and self._server() is not None:
                self._ended.clear()
                self._counting = threading.Thread(target=self._count, name="moedesk-overrides", daemon=True)
                self._counting.start()

    def _count(self) -> None:
        """Tell how many rows were changed while that grows, as long as something is on."""
        while not self._ended.wait(COUNT_SECONDS):
            with self._starting:
                acting = {each: followed for each, followed in list(self._followed.items()) if each.acting}
                if not acting:
                    self._counting = None
                    return
            for overrides, followed in acting.items():
                if [(entry.id, overrides.acted(entry)) for entry in overrides.entries] != followed.said:
                    self.tell(overrides)
            del acting
        with self._starting:
            self._counting = None


def deed(overrides: "Overrides", value: Mapping[str, Any]) -> None:
    """Do one order.

    Raises
    ------
    MoedeskError
        If it makes no sense.
    """
    do, number = value.get("do"), value.get("id")
    if do in ("change", "remove", "switch") and type(number) is not int:
        raise MoedeskError(f"the app names no override to {do}")
    override = _override(value)
    if do in ("add", "change") and override is None:
        raise MoedeskError(f"the app says no override to {do}")
    match do:
        case "add":
            assert override is not None
            overrides.add(override, bool(value.get("on", True)))
        case "change":
            assert override is not None
            overrides.change(int(number), override)  # type: ignore[arg-type]
        case "remove":
            overrides.remove(int(number))  # type: ignore[arg-type]
        case "switch":
            overrides.switch(int(number), bool(value.get("on")))  # type: ignore[arg-type]
        case "load":
            overrides.add_all(kept_of(value.get("overrides")), str(value.get("name", "")))
        case "undo":
            overrides.undo()
        case "redo":
            overrides.redo()
        case "clear":
            overrides.clear()
        case _:
            raise MoedeskError(f"the kernel's moedesk knows no order {do!r} for overrides; update it")


def _named(value: Mapping[str, Any]) -> list[Override | None]:
    """The overrides that an order is about."""
    if value.get("do") == "load":
        return [kept.override for kept in kept_of(value.get("overrides"))]
    return [_override(value)]


def _override(value: Mapping[str, Any]) -> Override | None:
    given = value.get("override")
    return None if given is None else Override.from_json(given)
