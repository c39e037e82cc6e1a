"""The commands of breakpoints: going on from one, setting ready ones, switching all of them."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from moedesk.core.selection import Kind
from moedesk.session import breakpoints
from moedesk.session.commands import Command
from moedesk.session.session import Session
from moedesk.ui.break_menu import set_breakpoint

if TYPE_CHECKING:
    from moedesk.ui.window import Window

READY: Sequence[tuple[str, str, str]] = (
    ("nonfinite", "Stop on NaN or infinity", "is:nonfinite"),
    ("dropped", "Stop when a token is dropped", "is:dropped"),
    ("overload", "Stop when an expert gets over twice its fair share of a pass", "load>2"),
)
"""Ready breakpoints: a name, a title and the filter."""
_MENU = "Model/Breakpoints"


def stop_commands(window: "Window") -> list[Command]:
    """Return the commands in the order of the menu; they come before those with which they share a key."""
    files, stops = window.files, window.stops

    def session() -> Session | None:
        current = files.current
        return current if current is not None and breakpoints.can_break(current.live) else None

    def runs() -> bool:
        return session() is not None

    def on(text: str) -> None:
        current = session()
        if current is not None:
            set_breakpoint(current, window, text)

    def expert() -> str:
        """The filter of the selected expert; empty without one."""
        current = session()
        selected = current.selection if current is not None else None
        if selected is None or selected.kind is not Kind.EXPERT:
            return ""
        return f"layer:{selected.layer} expert:{selected.expert}"

    def chosen_filter() -> str:
        current = session()
        return current.filter.to_text() if current is not None else ""

    def layer() -> str:
        current = session()
        place = None if current is None else current.selection.layer
        return "" if place is None else f"layer:{place} is:nonfinite"

    def deactivated() -> bool:
        current = session()
        return current is not None and not breakpoints.breakpoints_of(current.live).active

    def switch_all() -> None:
        current = session()
        if current is not None and current.live is not None:
            breakpoints.activate(current.live, deactivated())

    def in_front() -> bool:
        return stops.in_front

    ready = [
        Command(f"break.{name}", title, partial(on, text), runs, menu=_MENU, group=1) for name, title, text in READY
    ]
    return [
        Command("stop.resume", "Resume", stops.resume, in_front, "F8", _MENU),
        Command("stop.next_token", "Next token", stops.step_token, in_front, "F10", _MENU),
        Command("stop.next_layer", "Next layer", stops.step_layer, in_front, "F11", _MENU),
        *ready,
        Command(
            "break.expert",
            "Stop when the selected expert is chosen",
            lambda: on(expert()),
            lambda: bool(expert()),
            menu=_MENU,
            group=2,
        ),
        Command(
            "break.layer",
            "Stop on NaN or infinity at the selected layer",
            lambda: on(layer()),
            lambda: bool(layer()),
            menu=_MENU,
            group=2,
        ),
        Command(
            "break.filter",
            "Stop on what the filter shows",
            lambda: on(chosen_filter()),
            lambda: bool(chosen_filter()),
            menu=_MENU,
            group=2,
        ),
        Command("break.deactivate", "Deactivate all breakpoints", switch_all, runs, "Ctrl+F8", _MENU, 3, deactivated),
    ]
