"""A live session whose overrides are kept by the test, as the model's process keeps them."""

from collections.abc import Mapping
from typing import Any

from moedesk.core.override import Override
from moedesk.core.override_file import kept_of
from moedesk.session.session import Session
from tests.support.played_live import PlayedLive

Row = dict[str, Any]


class OverriddenLive(PlayedLive):
    """Carries orders about overrides out at once and tells how things stand; nothing is routed."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.rows: list[Row] = []
        self.note = ""
        self._undo: list[tuple[str, list[Row]]] = []
        self._redo: list[tuple[str, list[Row]]] = []
        self._last = 0

    @property
    def set_now(self) -> list[tuple[Override, bool]]:
        """The overrides, and whether they are on."""
        return [(Override.from_json(row["override"]), row["on"]) for row in self.rows]

    def set(self, *overrides: Override, acted: int = 0) -> None:
        """Set overrides as the console does."""
        for override in overrides:
            self._last += 1
            self.rows.append({"id": self._last, "on": True, "acted": acted, "override": override.to_json()})
        self.say()

    def say(self, note: str = "") -> None:
        """Tell how things stand."""
        undo, redo = (stack[-1][0] if stack else "" for stack in (self._undo, self._redo))
        rows = [dict(row) for row in self.rows]
        self.tell("overrides", {"entries": rows, "undo": undo, "redo": redo, "note": note})

    def order(self, topic: str, value: Mapping[str, Any]) -> None:
        super().order(topic, value)
        assert topic == "overrides"
        before = [dict(row) for row in self.rows]
        row = next((row for row in self.rows if row["id"] == value.get("id")), None)
        match value["do"]:
            case "add":
                self._last += 1
                on = value.get("on", True)
                self.rows.append({"id": self._last, "on": on, "acted": 0, "override": dict(value["override"])})
            case "load":
                for kept in kept_of(value["overrides"]):
                    self._last += 1
                    row = {"id": self._last, "on": kept.on, "acted": 0, "override": kept.override.to_json()}
                    self.rows.append(row)
            case "change":
                assert row is not None
                row["override"] = dict(value["override"])
            case "switch":
                assert row is not None
                row["on"] = value["on"]
            case "remove":
                assert row is not None
                self.rows.remove(row)
            case "clear":
                self.rows = []
            case "undo" | "redo" as step:
                back, forth = (self._undo, self._redo) if step == "undo" else (self._redo, self._undo)
                title, self.rows = back.pop()
                forth.append((title, before))
                self.say()
                return
        self._undo.append((value["do"], before))
        self._redo.clear()
        self.say()
