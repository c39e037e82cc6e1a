"""What the list says of an override, column by column. No Qt."""

from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Literal, get_args

from moedesk.core.acted import passes_text
from moedesk.core.override import Override, OverrideKind, listed, noted_titles
from moedesk.core.selection import Selection
from moedesk.session.overriding import Entry

Column = Literal["what", "layers", "experts", "where", "name", "acted"]
COLUMNS: tuple[Column, ...] = get_args(Column)
TITLES = {
    "what": "Override",
    "layers": "Layers",
    "experts": "Experts",
    "where": "Where",
    "acted": "Rows changed",
    "name": "Name",
}
HINTS = {
    "what": "What it does; the tick switches it on and off (Space)",
    "layers": "Places of the MoE layers on which it acts",
    "experts": "Experts that it is about",
    "where": "Only tokens in these slots of their sequence (columns, end excluded) and passes of these phases",
    "acted": "Token rows whose experts or weights it changed so far, counted at every layer",
    "name": "Yours to give: F2, or a double click",
}
RECORDED_TITLES = TITLES | {"acted": "Passes"}
RECORDED_HINTS = HINTS | {
    "what": "What it did",
    "acted": "Passes on which it acted, by number; is:overridden in Network's filter finds the rows that it changed",
    "name": "What it was called",
}
"""The same of overrides that a capture tells of."""
KINDS = {
    OverrideKind.ABLATE: "Ablate",
    OverrideKind.SCALE: "Scale",
    OverrideKind.SWAP: "Swap",
    OverrideKind.CAPACITY: "Capacity",
    OverrideKind.EXCLUDE: "Exclude",
    OverrideKind.FORCE: "Force",
    OverrideKind.BIAS: "Bias",
    OverrideKind.TEMPERATURE: "Temperature",
    OverrideKind.TOP_K: "Set k",
    OverrideKind.REPLAY: "Replay",
}
KIND_HINTS = {
    OverrideKind.ABLATE: "Its gate weight becomes 0 where it was chosen; nothing takes its place",
    OverrideKind.SCALE: "Its gate weight is multiplied where it was chosen",
    OverrideKind.SWAP: "Two experts change places: what was routed to one goes to the other",
    OverrideKind.CAPACITY: "Each expert keeps the first ceil(factor × tokens × k ÷ experts) slots of a pass; the rest is dropped",
    OverrideKind.EXCLUDE: "It can't be chosen; the model's own selection takes the next best, and weighs them as it does",
    OverrideKind.FORCE: "It is chosen for every token; the model's own selection weighs it",
    OverrideKind.BIAS: "A number is added to its logit before the model selects",
    OverrideKind.TEMPERATURE: "All logits are divided by it before the model selects: above 1 flatter, below 1 sharper",
    OverrideKind.TOP_K: "So many experts are chosen for each token; rows then have other slots, so a new session begins",
    OverrideKind.REPLAY: "The routing of a capture is put in the place of the model's own",
}
"""What each kind does, for the form and the tooltips."""


def what(override: Override) -> str:
    """Return what it does, without where."""
    title = KINDS[override.kind]
    match override.kind:
        case OverrideKind.SCALE:
            return f"{title} by {override.value:g}"
        case OverrideKind.BIAS:
            return f"{title} {override.value:+g}"
        case OverrideKind.CAPACITY | OverrideKind.TEMPERATURE:
            return f"{title} {override.value:g}"
        case OverrideKind.TOP_K:
            return f"{title} = {override.value:g}"
        case OverrideKind.REPLAY:
            return f"{title} {PurePath(override.capture).name} ({'ids and weights' if override.weights else 'ids'})"
    return title


def where(override: Override) -> str:
    """Return to which tokens and passes it is limited."""
    columns = ""
    if override.columns is not None:
        first, end = override.columns
        columns = f"column {first}" if end == first + 1 else f"columns {first}:{end}"
    return " · ".join(part for part in (columns, ", ".join(override.phases)) if part) or "everywhere"


def text(entry: Entry, column: Column) -> str:
    """Return what a cell says."""
    override = entry.override
    match column:
        case "what":
            return what(override)
        case "layers":
            return listed(override.layers) or "all"
        case "experts":
            return listed(override.experts) or "–"
        case "where":
            return where(override)
        case "acted":
            return passes_text(entry.passes) if entry.passes else f"{entry.acted:,}"
    return override.name


def hint(entry: Entry) -> str:
    """Return all there is to say about one."""
    if entry.passes:
        count = sum(end - first for first, end in entry.passes)
        acted = f"It acted on {count:,} pass{'es' * (count != 1)}: {passes_text(entry.passes, 20)}"
        return f"{entry.override.title}\n{KIND_HINTS[entry.override.kind]}\n{acted}"
    state = "on" if entry.on else "off"
    return f"{entry.override.title}\n{KIND_HINTS[entry.override.kind]}\nIt is {state} and changed {entry.acted:,} rows so far"


def heading(entries: Sequence[Entry]) -> str:
    """Return how many there are, and how many act."""
    acting = sum(entry.on for entry in entries)
    if not entries:
        return "No overrides"
    return f"{acting} of {len(entries)} overrides on" if acting < len(entries) else f"{counted(acting)} on"


def recorded_heading(entries: Sequence[Entry]) -> str:
    """Return how many acted while a capture was recorded."""
    return f"{counted(len(entries))} acted while this was recorded; the list is read only"


def recorded_text(notes: Iterable[str]) -> str:
    """Return which overrides were on while a capture without a list of them was recorded, as its notes have it."""
    titles = noted_titles(notes)
    if not titles:
        return "No override acted while this was recorded."
    listed_titles = "\n".join(f"· {title}" for title in titles)
    return (
        f"While this was recorded, {counted(len(titles))} {'was' if len(titles) == 1 else 'were'} on, "
        f"for some of its passes at least:\n\n{listed_titles}\n\nThe rows they changed: is:overridden in Network's filter."
    )


def counted(number: int) -> str:
    """Return e.g. ``1 override``."""
    return f"{number} override{'s' * (number != 1)}"


def is_about(entry: Entry, selection: Selection) -> bool:
    """Return whether it is about the selected expert, or else the selected layer."""
    override = entry.override
    if selection.layer is None or not override.acts_on(selection.layer):
        return False
    return selection.expert is None or not override.experts or selection.expert in override.experts
