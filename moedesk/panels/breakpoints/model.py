"""What the Breakpoints panel says about a list of breakpoints, and about one that is being typed."""

from dataclasses import dataclass

from moedesk.core.breakpoint import Breakpoint
from moedesk.core.errors import FilterError, MoedeskError
from moedesk.core.model import ModelInfo
from moedesk.session.breakpoints import BreakpointList, can_break
from moedesk.session.live import Live

EXAMPLE = "Break where, for example  layer:2 expert:7 margin<0.01"
OF_A_FILE = (
    "Breakpoints stop a model while it runs; this is a capture, and what it shows is over.\n"
    'In the console (Ctrl+`): moe.load("sample"), then moe.attach().'
)
NO_MODEL = 'No model is attached to break in. In the console (Ctrl+`): moe.load("sample"), then moe.attach().'
NO_BREAKPOINTS = (
    "No breakpoints yet. Type above where the model should stop, in the language of Network's filter,\n"
    "take a ready one, or right-click an expert, a layer or a token anywhere: Break."
)


@dataclass(frozen=True)
class Problem:
    """Why something can't break.

    Attributes
    ----------
    text : str
        One line.
    span : (int, int) or None
        Which characters of the filter it is about, end excluded; None if it isn't about the filter.
    """

    text: str
    span: tuple[int, int] | None = None


def problem_of(breakpoint: Breakpoint, model: ModelInfo) -> Problem | None:
    """Return why a breakpoint can't break in a model; None if it can."""
    try:
        breakpoint.check(model)
    except FilterError as error:
        return Problem(str(error), (error.start, error.end))
    except MoedeskError as error:
        return Problem(str(error))
    return None


def why_empty(live: Live | None, shown: BreakpointList) -> str:
    """Return why there is nothing in the list, and what to do; empty if there is something."""
    if live is None:
        return OF_A_FILE
    if live.ended:
        return f"Ended: {live.ended}"
    if not can_break(live):
        return NO_MODEL
    return "" if shown.entries else NO_BREAKPOINTS


def summary(shown: BreakpointList) -> str:
    """Return the list in a few words: how many there are, how many are on."""
    count, on = len(shown.entries), sum(entry.on for entry in shown.entries)
    if not count:
        return ""
    if not shown.active:
        return f"All deactivated: the model stops at none of {count}"
    return f"{on} of {count} on"
