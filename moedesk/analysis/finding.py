"""What an audit found, in the form in which it is shown and exported."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

Severity = Literal["info", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")
"""From the least severe up."""


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes
    ----------
    id : str
        Name of the check, stable.
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
        Where the line between fine and found comes from.
    advice : str
        What to do.
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

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; numbers that JSON can't hold become null."""
        return {
            "id": self.id,
            "title": self.title,
            "severity": self.severity,
            "layer": self.layer,
            "expert": self.expert,
            "evidence": {name: _plain(value) for name, value in self.evidence.items()},
            "confidence": self.confidence,
            "threshold_source": self.threshold_source,
            "advice": self.advice,
        }


@dataclass(frozen=True)
class AuditReport:
    """The findings of an audit, the most severe first.

    Attributes
    ----------
    layers : int
        Layers looked at.
    findings : tuple of Finding
    """

    layers: int
    findings: tuple[Finding, ...]

    @property
    def score(self) -> int:
        """0 to 100: the mean over layers of 100, or 50 with a warning, or 0 with an error; less 10 per warning and 50 per error
        about the whole capture.
        """
        worst: dict[str, float] = {}
        capture = 0.0
        for finding in self.findings:
            if finding.layer is None:
                capture += {"info": 0, "warning": 10, "error": 50}[finding.severity]
            else:
                lost = {"info": 0, "warning": 0.5, "error": 1.0}[finding.severity]
                worst[finding.layer] = max(worst.get(finding.layer, 0.0), lost)
        lost_share = sum(worst.values()) / self.layers if self.layers else 0.0
        return max(0, round(100 * (1 - lost_share) - capture))

    def reaches(self, severity: Severity) -> bool:
        """Whether any finding is at least that severe."""
        return any(SEVERITIES.index(finding.severity) >= SEVERITIES.index(severity) for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {"score": self.score, "findings": [finding.to_json() for finding in self.findings]}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
