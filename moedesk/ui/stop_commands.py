"""The commands of breakpoints: going on from one, setting some, switching and removing all of them."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from moedesk.core.selection import Kind
from moedesk.session import breakpoints
from moedesk.session.commands import Command
from moedesk.session.session import Session
from moedesk.ui.break_menu import break_on_margin, break_on_token, set_breakpoint

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
    return [*_going_on(window), *_ready(window), *_of_the_selection(window), *_of_all(window)]


def _breakable(window: "Window") -> Session | None:
    """The session in front, if its model can stop."""
    current = window.files.current
    return current if current is not None and breakpoints.can_break(current.live) else None


def _going_on(window: "Window") -> list[Command]:
    stops = window.stops

    def in_front() -> bool:
        return stops.in_front

    return [
        Command("stop.resume", "Resume", stops.resume, in_front, "F8", _MENU),
        Command("stop.next_token", "Next token", stops.step_token, in_front, "F10", _MENU),
        Command("stop.next_layer", "Next layer", stops.step_layer, in_front, "F11", _MENU),
    ]


def _ready(window: "Window") -> list[Command]:
    def runs() -> bool:
        return _breakable(window) is not None

    return [
        Command(f"break.{name}", title, partial(_set, window, text), runs, menu=_MENU, group=1)
        for name, title, text in READY
    ]


def _set(window: "Window", text: str) -> None:
    current = _breakable(window)
    if current is not None and text:
        set_breakpoint(current, window, text)


def _of_the_selection(window: "Window") -> list[Command]:
    """Breakpoints on what is selected, or filtered for."""

    def expert() -> str:
        current = _breakable(window)
        if current is None or current.selection.kind is not Kind.EXPERT:
            return ""
        return f"layer:{current.selection.layer} expert:{current.selection.expert}"

    def nonfinite() -> str:
        current = _breakable(window)
        layer = None if current is None else current.selection.layer
        return "" if layer is None else f"layer:{layer} is:nonfinite"

    def chosen_filter() -> str:
        current = _breakable(window)
        return "" if current is None else current.filter.to_text()

    def ask_margin() -> None:
        current = _breakable(window)
        if current is not None and current.selection.layer is not None:
            break_on_margin(current.selection.layer, current, window, window)

    def has_token() -> bool:
        current = _breakable(window)
        return current is not None and current.selection.token is not None

    def on_token() -> None:
        current = _breakable(window)
        if current is not None and current.selection.token is not None:
            break_on_token(current.selection, current, window)

    commands = [
        ("expert", "Stop when the selected expert is chosen", lambda: _set(window, expert()), lambda: bool(expert())),
        (
            "layer",
            "Stop on NaN or infinity at the selected layer",
            lambda: _set(window, nonfinite()),
            lambda: bool(nonfinite()),
        ),
        ("margin", "Stop when the margin at the selected layer is below…", ask_margin, lambda: bool(nonfinite())),
        ("token", "Stop on the selected token's text", on_token, has_token),
        (
            "filter",
            "Stop on what the filter shows",
            lambda: _set(window, chosen_filter()),
            lambda: bool(chosen_filter()),
        ),
    ]
    return [Command(f"break.{name}", title, run, when, menu=_MENU, group=2) for name, title, run, when in commands]


def _of_all(window: "Window") -> list[Command]:
    def shown() -> breakpoints.BreakpointList:
        current = _breakable(window)
        return breakpoints.breakpoints_of(None if current is None else current.live)

    def switch() -> None:
        current = _breakable(window)
        if current is not None and current.live is not None:
            breakpoints.activate(current.live, not shown().active)

    def remove() -> None:
        current = _breakable(window)
        if current is not None and current.live is not None:
            breakpoints.clear(current.live)

    def runs() -> bool:
        return _breakable(window) is not None

    def deactivated() -> bool:
        return not shown().active

    return [
        Command("break.deactivate", "Deactivate all breakpoints", switch, runs, "Ctrl+F8", _MENU, 3, deactivated),
        Command("break.clear", "Remove all breakpoints", remove, lambda: bool(shown().entries), menu=_MENU, group=3),
    ]
