"""An audit as a text to read and as JSON."""

import json
import textwrap

from moedesk.panels.audits.model import Audited, left_out, summary
from moedesk.panels.audits.model_evidence import evidence_lines, percent
from moedesk.panels.audits.model_findings import WORDS, Criteria, Entry, Quiet, quiet_groups
from moedesk.panels.audits.model_scores import scores_of

WIDTH = 100


def as_json(audited: Audited) -> str:
    """Return what ``moedesk audit --json`` prints."""
    return json.dumps(audited.report.to_json(), indent=1, allow_nan=False)


def as_text(audited: Audited, entries: tuple[Entry, ...]) -> str:
    """Return scores, what was left out, and findings as lines."""
    scores = ", ".join(
        f"{score.title} {'–' if score.value is None else score.value} ({score.word})"
        for score in scores_of(audited.report)
    )
    lines = [audited.name, summary(audited), f"Scores, 0 to 100: {scores}", *left_out(audited)]
    quiet = quiet_groups(audited.report.outcomes, Criteria())
    for entry in entries:
        lines += ["", finding_text(audited, entry)]
    for group in quiet:
        lines += ["", f"{group.title}:"]
        for row in group.entries:
            why = f" ({row.why})" if isinstance(row, Quiet) and not row.judged else ""
            lines.append(f"  {row.text('title')}{why}")
    return "\n".join(lines) + "\n"


def finding_text(audited: Audited, entry: Entry) -> str:
    """Return one finding as lines."""
    finding = entry.finding
    layer = f" ({finding.layer})" if finding.layer else ""
    lines = [f"{WORDS[finding.severity]}: {finding.title} [{finding.id}]", f"  where       {entry.where}{layer}"]
    for line in evidence_lines(finding, audited.model):
        unit = f" ({line.unit})" if line.unit else ""
        lines += _wrapped("evidence", f"{line.name}: {line.value}{unit}")
    lines += _wrapped("confidence", percent(finding.confidence))
    lines += _wrapped("threshold", finding.threshold_source)
    lines += _wrapped("advice", finding.advice)
    return "\n".join(lines)


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"  {label:<12}", subsequent_indent=" " * 14)
