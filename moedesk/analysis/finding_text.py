"""Findings as text."""

import textwrap
from collections.abc import Mapping, Sequence

from moedesk.analysis.finding import AuditReport, Finding

WIDTH = 100


def as_text(name: str, report: AuditReport) -> str:
    """Return the findings as lines to read."""
    lines = [
        f"{name}: score {report.score} of 100, {number(len(report.findings), 'finding')} in {report.layers} MoE layers"
    ]
    lines.append("  " + " · ".join(f"{category} {score}" for category, score in report.categories.items()))
    for note in report.notes:
        lines += textwrap.wrap(note, WIDTH, initial_indent="  ", subsequent_indent="  ")
    for finding in report.findings:
        lines += ["", *_finding(finding)]
    return "\n".join(lines)


def number(count: int, what: str) -> str:
    """Return ``3 findings``."""
    return f"{count:,} {what}{'' if count == 1 or what == 'info' else 's'}"


def value_text(value: object) -> str:
    """Return a value of ``Finding.evidence`` as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {value_text(one)}" for key, one in value.items()) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(value_text(one) for one in value) + "]"
    return "unknown" if value is None else str(value)


def _finding(finding: Finding) -> list[str]:
    where = f" ({finding.layer})" if finding.layer else ""
    evidence = ", ".join(f"{key.replace('_', ' ')} {value_text(value)}" for key, value in finding.evidence.items())
    facts = (
        ("evidence", evidence),
        ("threshold", f"{finding.threshold_source}; confidence {finding.confidence:.3g}"),
        ("advice", finding.advice),
    )
    lines = textwrap.wrap(f"{finding.severity:<8} {finding.title}{where}", WIDTH, subsequent_indent=" " * 9)
    for label, text in facts:
        lines += textwrap.wrap(text, WIDTH, initial_indent=f"{'':9}{label:<10}", subsequent_indent=" " * 19)
    return lines
