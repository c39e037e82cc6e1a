"""What is typed into the form of an override, and the override that it means. No Qt."""

import re
from dataclasses import dataclass

from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind, listed

MOST = 1_000_000
"""Numbers above are refused before a range of them is written out."""
_RANGE = re.compile(r"(\d+)(?:\s*[-–]\s*(\d+))?$")
_COLUMNS = re.compile(r"(\d+)(?:\s*:\s*(\d+))?$")


@dataclass(frozen=True)
class Typed:
    """The fields of the form, as they are typed.

    Attributes
    ----------
    kind : OverrideKind
    layers, experts : str
        Numbers and runs of them: ``3, 5–7``; layers also ``all`` or nothing.
    value : str
    columns : str
        ``12``, or ``0:16`` with the end excluded; nothing for all.
    phases : tuple of str
    capture : str
    weights : bool
    name : str
    """

    kind: OverrideKind = OverrideKind.ABLATE
    layers: str = ""
    experts: str = ""
    value: str = ""
    columns: str = ""
    phases: tuple[str, ...] = ()
    capture: str = ""
    weights: bool = False
    name: str = ""


def fields_of(kind: OverrideKind) -> frozenset[str]:
    """Return the fields that matter to a kind, besides layers and name."""
    matters = {"columns"} if kind.by_token else set()
    matters |= {"phases"} if kind.by_phase else set()
    matters |= {"experts"} if kind.names_experts else set()
    matters |= {"value"} if kind.unit else set()
    matters |= {"capture", "weights"} if kind is OverrideKind.REPLAY else set()
    return frozenset(matters)


def typed(override: Override) -> Typed:
    """Return how an override is typed."""
    columns = override.columns
    return Typed(
        override.kind,
        listed(override.layers),
        listed(override.experts),
        "" if override.value is None else f"{override.value:.17g}" if _lossy(override.value) else f"{override.value:g}",
        "" if columns is None else f"{columns[0]}:{columns[1]}",
        override.phases,
        override.capture,
        override.weights,
        override.name,
    )


def read(form: Typed) -> Override:
    """Return the override that is meant; fields that don't matter to its kind are left out.

    Raises
    ------
    MoedeskError
        In one line, if a field can't be read.
    """
    matters = fields_of(form.kind)
    layers = form.layers.strip()
    return Override(
        form.kind,
        () if layers.lower() in ("", "all") else numbers(layers, "layers"),
        numbers(form.experts, "experts") if "experts" in matters else (),
        number(form.value, form.kind.unit) if "value" in matters else None,
        columns(form.columns) if "columns" in matters else None,
        form.phases if "phases" in matters else (),
        form.capture.strip() if "capture" in matters else "",
        form.weights and "weights" in matters,
        form.name.strip(),
    )


def numbers(text: str, what: str) -> tuple[int, ...]:
    """Return the numbers of ``3, 5–7``, in the order in which they are typed."""
    found: list[int] = []
    for part in filter(None, (part.strip() for part in re.split(r"[,;\s]", _tight(text)))):
        match = _RANGE.match(part)
        if match is None:
            raise MoedeskError(f"{what}: {part!r} is no number; write numbers and runs of them, such as 3, 5-7")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last > MOST:
            raise MoedeskError(f"{what}: {part} holds no numbers; write the smaller one first, such as 5-7")
        found += range(first, last + 1)
    return tuple(found)


def number(text: str, unit: str) -> float:
    """Return a typed number."""
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        raise MoedeskError(f"{text.strip() or 'nothing'!r} is no number; the value is {unit}") from None


def columns(text: str) -> tuple[int, int] | None:
    """Return first and end of ``12`` or ``0:16``; None where nothing is typed."""
    if not text.strip():
        return None
    match = _COLUMNS.match(text.strip())
    if match is None:
        raise MoedeskError(
            f"columns: {text.strip()!r} is no range; write a slot (12), or first:end with the end excluded (0:16)"
        )
    first = int(match[1])
    return first, int(match[2]) if match[2] else first + 1


def _tight(text: str) -> str:
    """Take the blanks around dashes away, so that blanks part numbers."""
    return re.sub(r"\s*([-–])\s*", r"\1", text.strip())


def _lossy(value: float) -> bool:
    return float(f"{value:g}") != value
