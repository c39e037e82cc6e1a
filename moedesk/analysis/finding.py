"""What an audit found, in the form in which it is shown and exported."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, Literal, get_args

Severity = Literal["info", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From the least severe up."""

Category = Literal["load", "router", "numbers", "stability", "training", "data"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
"""What a finding is about: how the load is spread; what the router does; values that can't be; changes during the run; training
steps; how far the capture can be relied on and what it covers."""

LOST = {"info": 0.0, "warning": 0.5, "error": 1.0}
"""Share of a layer's score that its worst finding takes away."""
LOST_BY_CAPTURE = {"info": 0, "warning": 10, "error": 50}
"""Points that a finding about the whole capture takes away."""


@dataclass(frozen=True)
class Reveal:
    """Where the evidence of a finding can be seen: a panel, and what to select and filter by in it.

    Attributes
    ----------
    panel : str
        Id of the panel: ``network``, ``elements``, ``waterfall``, ….
    layer : int or None
        Place in ``ModelInfo.layers``.
    expert : int or None
    first_pass, last_pass : int or None
        Passes to look at, end excluded; None for all.
    token : int or None
        Row in the tokens of ``stream``.
    stream : str or None
        None for the main one.
    filter : str
        In the language of ``core.filter``; empty for none.
    """

    panel: str = "network"
    layer: int | None = None
    expert: int | None = None
    first_pass: int | None = None
    last_pass: int | None = None
    token: int | None = None
    stream: str | None = None
    filter: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes
    ----------
    id : str
        Name of the kind of finding, stable.
    title : str
        What was found, in one line.
    severity : {"info", "warning", "error"}
    layer : str or None
        Path of the layer; None if it is about the whole capture.
    expert : int or None
    evidence : mapping
        The numbers behind it, as plain JSON values; names carry units.
    confidence : float
        0 to 1: 1 for what was counted, else how sure the statistics are.
    threshold_source : str
        The line between fine and found, and where it comes from.
    advice : str
        What to do.
    category : str
        One of ``CATEGORIES``, or a plug-in's own.
    reveal : Reveal or None
        Where to see it.
    """

    id: str
    title: str
    severity: Severity
    evidence: Mapping[str, Any]
    advice: str
    threshold_source: str
    layer: str | None = None
    expert: int | None = None
    confidence: float = 1.0
    category: str = "load"
    reveal: Reveal | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; numbers that JSON can't hold become null."""
        return {
            "id": self.id,
            "title": self.title,
            "category": self.category,
            "severity": self.severity,
            "layer": self.layer,
            "expert": self.expert,
            "evidence": {name: _plain(value) for name, value in self.evidence.items()},
            "confidence": self.confidence,
            "threshold_source": self.threshold_source,
            "advice": self.advice,
            "reveal": None if self.reveal is None else asdict(self.reveal),
        }


@dataclass(frozen=True)
class Outcome:
    """What became of one kind of finding.

    Attributes
    ----------
    id, category : str
    what : str
        What was looked for, in one line.
    findings : int
        How many there are.
    lacks : str
        Why it could not be judged; empty if it was.
    """

    id: str
    category: str
    what: str
    findings: int
    lacks: str = ""


@dataclass(frozen=True)
class AuditReport:
    """The findings of an audit, the most severe first.

    Attributes
    ----------
    layers : int
        Layers looked at.
    findings : tuple of Finding
    notes : tuple of str
        What the audit left out, a line each: rows not read, plug-ins that failed.
    outcomes : tuple of Outcome
        What was looked for, found or not, in the order of the checks.
    """

    layers: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = field(default=())
    outcomes: tuple[Outcome, ...] = field(default=())

    @property
    def score(self) -> int:
        """0 to 100: the mean over layers of 100, or 50 with a warning, or 0 with an error; less 10 per warning and 50 per error
        about the whole capture.
        """
        return _score(self.findings, self.layers)

    @property
    def categories(self) -> dict[str, int]:
        """The same score for the findings of each category alone."""
        names = dict.fromkeys((*CATEGORIES, *(finding.category for finding in self.findings)))
        return {name: _score([one for one in self.findings if one.category == name], self.layers) for name in names}

    def reaches(self, severity: Severity) -> bool:
        """Whether any finding is at least that severe."""
        return any(SEVERITIES.index(finding.severity) >= SEVERITIES.index(severity) for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "score": self.score,
            "categories": self.categories,
            "findings": [finding.to_json() for finding in self.findings],
            "notes": list(self.notes),
        }


def _score(findings: Sequence[Finding], layers: int) -> int:
    worst: dict[str, float] = {}
    capture = 0
    for finding in findings:
        if finding.layer is None:
            capture += LOST_BY_CAPTURE[finding.severity]
        else:
            worst[finding.layer] = max(worst.get(finding.layer, 0.0), LOST[finding.severity])
    lost_share = sum(worst.values()) / layers if layers else 0.0
    return max(0, round(100 * (1 - lost_share) - capture))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
