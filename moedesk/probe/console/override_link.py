"""What apps are told of overrides, and what they order."""

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.core.override_file import kept_of

if TYPE_CHECKING:
    from moedesk.link.server import LinkServer
    from moedesk.probe.console.turns import Turns
    from moedesk.probe.overriding.overrides import Overrides

TOPIC = "overrides"
COUNT_SECONDS = 0.5
"""Between two looks at how many rows were changed."""
WAITS = "it waits for the cell that runs: how this model selects its experts has to be found out first"


class OverrideLink:
    """Tells apps how the list stands and does what they order.

    Parameters
    ----------
    overrides : function
        Gives the list; raises ``MoedeskError`` without a model.
    server : function
        Gives the link, or None as long as there is none.
    turns : Turns or None
        Of the kernel, for what has to wait for the main thread.
    """

    def __init__(
        self,
        overrides: "Callable[[], Overrides]",
        server: "Callable[[], LinkServer | None]",
        turns: "Turns | None" = None,
    ) -> None:
        self._overrides, self._server, self.turns = overrides, server, turns
        self._note = ""
        self._followed: Overrides | None = None
        self._ended = threading.Event()
        self._counting: threading.Thread | None = None
        self._starting = threading.Lock()
        self._said: list[tuple[int, int]] = []  # what was told last of how many rows each one changed

    def follow(self, overrides: "Overrides") -> None:
        """Tell of this list from now on."""
        if self._followed is overrides:
            return
        if self._followed is not None:
            self._followed.changed.remove(self._changed)
        self._followed = overrides
        overrides.changed.append(self._changed)
        self.tell()

    def tell(self) -> None:
        """Tell how the list stands."""
        server, overrides = self._server(), self._followed
        if server is None or overrides is None:
            return
        value = overrides.told()
        value["note"] = self._note or value["note"]
        self._said = [(entry["id"], entry["acted"]) for entry in value["entries"]]
        server.tell(TOPIC, value)

    def close(self) -> None:
        """Count no more."""
        self._ended.set()
        counting = self._counting
        if counting is not None:
            counting.join(2 * COUNT_SECONDS)
        if self._followed is not None:
            self._followed.changed.remove(self._changed)
            self._followed.close()
            self._followed = None

    def order(self, value: Mapping[str, Any]) -> None:
        """Do what an app ordered; a mistake in it is told. What needs the model to run waits for the main thread."""
        try:
            overrides = self._overrides()
            self.follow(overrides)
            named = [one for one in _named(value) if one is not None]
            anew = any(
                one.kind is OverrideKind.TOP_K for one in (*named, *(entry.override for entry in overrides.entries))
            )
            waits = self.turns is not None and (anew or not all(overrides.layers.knows(one) for one in named))
        except MoedeskError as error:
            self._say(str(error))
            return
        if not waits:
            self._do(overrides, value)
            return
        self._say(WAITS)
        assert self.turns is not None
        self.turns.ask(lambda: self._do(overrides, value))

    def _do(self, overrides: "Overrides", value: Mapping[str, Any]) -> None:
        try:
            self._note = ""
            deed(overrides, value)
        except MoedeskError as error:
            self._say(str(error))

    def _say(self, note: str) -> None:
        self._note = note
        self.tell()

    def _changed(self) -> None:
        self._note = ""
        self.tell()
        overrides = self._followed
        with self._starting:
            if overrides is not None and overrides.acting and self._counting is None and self._server() is not None:
                self._ended.clear()
                self._counting = threading.Thread(target=self._count, name="moedesk-overrides", daemon=True)
                self._counting.start()

    def _count(self) -> None:
        """Tell how many rows were changed while that grows, as long as something is on."""
        while not self._ended.wait(COUNT_SECONDS):
            overrides = self._followed
            with self._starting:
                if overrides is None or not overrides.acting:
                    self._counting = None
                    return
            if [(entry.id, overrides.acted(entry)) for entry in overrides.entries] != self._said:
                self.tell()
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
