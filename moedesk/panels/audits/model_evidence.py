"""The numbers behind a finding as lines to read: names in words, values with their unit and convention."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from moedesk.analysis.finding import Finding
from moedesk.core.model import ModelInfo
from moedesk.panels.audits.model_names import NAMES, UNITS
from moedesk.panels.audits.model_targets import Target, selection_of, target_of

MOST_PARTS = 12
"""Members of a list that are shown; the rest is counted."""


@dataclass(frozen=True)
class Line:
    """One line of evidence.

    Attributes
    ----------
    name, value, unit : str
        Unit or convention; may be empty.
    target : Target or None
        Where it is shown.
    """

    name: str
    value: str
    unit: str
    target: Target | None = None


def evidence_lines(finding: Finding, model: ModelInfo) -> list[Line]:
    """Return the evidence of a finding, a line for each number, and for each layer of what is told layer by layer."""
    target = target_of(finding, model)
    return [line for key, value in finding.evidence.items() for line in _lines(key, value, model, target)]


def _lines(key: str, value: Any, model: ModelInfo, target: Target | None) -> Iterator[Line]:
    name, unit = name_of(key)
    if not isinstance(value, Mapping):
        yield Line(name, value_text(value, key), unit, target)
        return
    places = {layer.path: layer.place for layer in model.layers}
    for part, held in value.items():
        place = places.get(str(part))
        where = _part(key, str(part)) if place is None else f"layer {place}"
        here = target if place is None else Target("elements", selection_of(place))
        yield Line(f"{name}, {where}", value_text(held, key if place is not None else str(part)), unit, here)


def _part(key: str, part: str) -> str:
    """Return a member of what is told rank by rank, or by some other name."""
    return f"rank {part}" if key.endswith("_by_rank") else part.replace("_", " ")


def name_of(key: str) -> tuple[str, str]:
    """Return an evidence's name in words, and its unit or convention."""
    if key in NAMES:
        return NAMES[key]
    words, unit = key, ""
    for end, meaning in UNITS:
        if key.endswith(end):
            words, unit = key.removesuffix(end), meaning
            break
    words = words.replace("_", " ").strip()
    return words[:1].upper() + words[1:], unit


def value_text(value: Any, key: str = "") -> str:
    """Return a value to read: shares in per cent, counts with separators, long lists cut and counted."""
    match value:
        case None:
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float() if _is_share(key):
            return percent(value)
        case float():
            return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:,.0f}"
        case Mapping():
            return "; ".join(f"{part}: {value_text(held)}" for part, held in value.items()) or "none"
        case list() | tuple() if "interval" in key and len(value) == 2:
            return " – ".join(percent(end) if isinstance(end, float) else value_text(end) for end in value)
        case list() | tuple():
            more = f" and {len(value) - MOST_PARTS:,} more" if len(value) > MOST_PARTS else ""
            return ", ".join(value_text(part, key) for part in value[:MOST_PARTS]) + more if value else "none"
    return str(value)


def percent(share: float) -> str:
    """Return a share in per cent, with as many digits as tell it from 0 and from 100 %."""
    digits = 6 if 0.999 < share < 1 else 4
    return f"{100 * share:.{digits}g} %"


def _is_share(key: str) -> bool:
    return "share" in key.split("_") or key.endswith(("_rate", "_fraction"))
