"""Findings as the list shows them: filtered, sorted and grouped."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from moedesk.analysis.finding import SEVERITIES, Finding, Outcome, Severity
from moedesk.core.model import ModelInfo
from moedesk.core.selection import Kind, Selection
from moedesk.panels.audits.model import Audited
from moedesk.panels.audits.model_evidence import evidence_lines, percent
from moedesk.panels.audits.model_scores import category_title
from moedesk.panels.audits.model_targets import place_of

GroupBy = Literal["severity", "category", "layer"]
GROUPINGS: tuple[GroupBy, ...] = ("severity", "category", "layer")
Column = Literal["severity", "title", "where", "category", "confidence"]
COLUMNS: tuple[Column, ...] = ("severity", "title", "where", "category", "confidence")
WORDS: dict[Severity, str] = {"error": "Error", "warning": "Warning", "info": "Info"}
"""A severity in a word."""
PASSED, NOT_JUDGED = "passed", "not judged"
"""Keys of the groups of checks without findings."""
WHOLE_CAPTURE = "whole capture"


@dataclass(frozen=True)
class Entry:
    """A finding with what the list says of it.

    Attributes
    ----------
    number : int
        Its place in the report.
    finding : Finding
    category : str
    place : int or None
        Place of its layer.
    words : str
        What the text filter looks in, in lower case.
    """

    number: int
    finding: Finding
    category: str
    place: int | None
    words: str

    @property
    def where(self) -> str:
        """Layer and expert in words."""
        if self.place is None:
            return self.finding.layer or WHOLE_CAPTURE
        return f"layer {self.place}" if self.finding.expert is None else f"expert {self.place}.{self.finding.expert}"

    def text(self, column: Column) -> str:
        """Return a cell of the list."""
        match column:
            case "severity":
                return WORDS[self.finding.severity]
            case "title":
                return self.finding.title
            case "where":
                return self.where
            case "category":
                return category_title(self.category)
        return percent(self.finding.confidence)

    def is_about(self, selection: Selection) -> bool:
        """Whether it is about what is selected: the layer, or the expert and its layer as a whole."""
        if selection.kind not in (Kind.LAYER, Kind.EXPERT) or self.place is None or self.place != selection.layer:
            return False
        return selection.kind is Kind.LAYER or self.finding.expert in (None, selection.expert)


@dataclass(frozen=True)
class Criteria:
    """Which findings are shown.

    Attributes
    ----------
    severities : frozenset of Severity
    category : str
        Empty for all.
    layer : int or None
        Place of the layer, None for all, -1 for what is about the whole capture.
    text : str
        Words that must all occur, in any order and case.
    """

    severities: frozenset[Severity] = frozenset(SEVERITIES)
    category: str = ""
    layer: int | None = None
    text: str = ""

    def takes(self, entry: Entry) -> bool:
        """Whether a finding is shown."""
        layer = -1 if entry.place is None else entry.place
        return (
            entry.finding.severity in self.severities
            and self.category in ("", entry.category)
            and self.layer in (None, layer)
            and all(word in entry.words for word in self.text.lower().split())
        )


@dataclass(frozen=True)
class Quiet:
    """A check without findings: it found nothing, or there was too little to judge.

    Attributes
    ----------
    title, category : str
    why : str
        What became of it; what is missing if it could not judge.
    judged : bool
    """

    title: str
    category: str
    why: str
    judged: bool = True

    def text(self, column: Column) -> str:
        """Return a cell of the list."""
        if column == "severity":
            return "Passed" if self.judged else "Not judged"
        return {"title": self.title, "category": category_title(self.category)}.get(column, "")


@dataclass(frozen=True)
class Group:
    """Rows under one heading; ``title`` counts them."""

    key: str
    title: str
    entries: tuple[Entry | Quiet, ...]


def entries_of(audited: Audited) -> tuple[Entry, ...]:
    """Return the findings of an audit, in the report's order."""
    return tuple(_entry(number, finding, audited.model) for number, finding in enumerate(audited.report.findings))


def with_entries(audited: Audited) -> tuple[Audited, tuple[Entry, ...]]:
    """Return an audit with its findings as entries: for the worker, as hundreds take longer than a frame."""
    return audited, entries_of(audited)


def _entry(number: int, finding: Finding, model: ModelInfo) -> Entry:
    place, category = place_of(finding, model), finding.category
    entry = Entry(number, finding, category, place, "")
    evidence = " ".join(f"{line.name} {line.value}" for line in evidence_lines(finding, model))
    parts = (finding.id, finding.title, finding.severity, finding.layer or "", entry.where, category_title(category))
    dotted = "" if place is None else f"layer {place}"
    return Entry(number, finding, category, place, " ".join((*parts, dotted, evidence, finding.advice)).lower())


def grouped(
    entries: Iterable[Entry], by: GroupBy, column: Column = "severity", descending: bool = False
) -> tuple[Group, ...]:
    """Return findings in groups, each sorted by a column; ties stay in the report's order.

    Groups of severities come worst first, categories by their worst finding, layers in the model's order.
    """
    held: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=_sort_key(column), reverse=descending):
        held.setdefault(_group_key(entry, by), []).append(entry)
    groups = [Group(key, _group_title(found, by), tuple(found)) for key, found in held.items()]
    return tuple(sorted(groups, key=_group_order(by, held)))


def quiet_groups(outcomes: Iterable[Outcome], criteria: Criteria) -> tuple[Group, ...]:
    """Return the checks that found nothing, and those that could not judge; none where severity or layer is narrowed."""
    if criteria.layer is not None or criteria.severities != frozenset(SEVERITIES):
        return ()
    quiet = [outcome for outcome in outcomes if not outcome.findings and criteria.category in ("", outcome.category)]
    passed = [_quiet(outcome) for outcome in quiet if not outcome.lacks]
    unjudged = [_quiet(outcome) for outcome in quiet if outcome.lacks]
    words = criteria.text.lower().split()
    groups = []
    for key, rows, said in (
        (PASSED, passed, ("check found nothing", "checks found nothing")),
        (NOT_JUDGED, unjudged, ("check could not judge", "checks could not judge")),
    ):
        kept = tuple(row for row in rows if all(word in f"{row.title} {row.why}".lower() for word in words))
        if kept:
            groups.append(Group(key, f"{len(kept):,} {said[len(kept) != 1]}", kept))
    return tuple(groups)


def _quiet(outcome: Outcome) -> Quiet:
    what = outcome.what[:1].upper() + outcome.what[1:]
    if outcome.lacks:
        return Quiet(what, outcome.category, f"Not judged: {outcome.lacks}.", False)
    return Quiet(what, outcome.category, "Looked for, and not found.")


def _sort_key(column: Column) -> Callable[[Entry], Any]:
    keys: dict[Column, Callable[[Entry], Any]] = {
        "severity": lambda entry: -SEVERITIES.index(entry.finding.severity),
        "title": lambda entry: entry.finding.title.lower(),
        "where": _place_key,
        "category": lambda entry: category_title(entry.category).lower(),
        "confidence": lambda entry: entry.finding.confidence,
    }
    return keys[column]


def _place_key(entry: Entry) -> tuple[int, int]:
    place = -1 if entry.place is None else entry.place
    return place, -1 if entry.finding.expert is None else entry.finding.expert


def _group_key(entry: Entry, by: GroupBy) -> str:
    match by:
        case "severity":
            return entry.finding.severity
        case "category":
            return entry.category
    return entry.finding.layer or ""


def _group_title(entries: list[Entry], by: GroupBy) -> str:
    first = entries[0]
    match by:
        case "severity":
            word = WORDS[first.finding.severity]
            title = {"Error": "Errors", "Warning": "Warnings", "Info": "Worth knowing"}[word]
        case "category":
            title = category_title(first.category)
        case _:
            title = "Whole capture" if first.place is None else f"Layer {first.place} · {first.finding.layer}"
    return f"{title} ({len(entries):,})"


def _group_order(by: GroupBy, held: dict[str, list[Entry]]) -> Callable[[Group], Any]:
    def worst(group: Group) -> int:
        return min(-SEVERITIES.index(entry.finding.severity) for entry in held[group.key])

    if by == "layer":
        return lambda group: _place_key(held[group.key][0])[0]
    return lambda group: (worst(group), group.title)
