"""``moedesk audit``: what is wrong with a capture's routing, and what to do."""

import argparse
import json
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moedesk.analysis.finding import AuditReport, Finding

NAME = "audit"
HELP = "check a capture's routing for dead and hot experts, collapse, drops, NaN and more"
WIDTH = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="a capture")
    parser.add_argument("--json", action="store_true", help="print JSON, whose fields stay as they are")
    parser.add_argument(
        "--fail-on", choices=("warning", "error"), help="exit with 1 if there is a finding at least that severe"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; return 1 if one is as severe as ``--fail-on`` says."""
    from moedesk.analysis.audit import audit
    from moedesk.capture.open import open_capture

    with open_capture(arguments.file) as capture:
        report = audit(capture)
        print(
            json.dumps(report.to_json(), indent=1, allow_nan=False) if arguments.json else as_text(capture.name, report)
        )
    return int(arguments.fail_on is not None and report.reaches(arguments.fail_on))


def as_text(name: str, report: "AuditReport") -> str:
    """Return the findings as lines to read."""
    lines = [
        f"{name}: score {report.score} of 100, {_number(len(report.findings), 'finding')} in {report.layers} MoE layers"
    ]
    for finding in report.findings:
        lines += ["", *_finding(finding)]
    return "\n".join(lines)


def _finding(finding: "Finding") -> list[str]:
    where = f" ({finding.layer})" if finding.layer else ""
    evidence = ", ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in finding.evidence.items())
    facts = (
        ("evidence", evidence),
        ("threshold", f"{finding.threshold_source}; confidence {finding.confidence:.3g}"),
        ("advice", finding.advice),
    )
    lines = [f"{finding.severity:<8} {finding.title}{where}"]
    for label, text in facts:
        lines += textwrap.wrap(text, WIDTH, initial_indent=f"{'':9}{label:<10}", subsequent_indent=" " * 19)
    return lines


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_value(one)}" for key, one in value.items()) or "none"
    return "unknown" if value is None else str(value)
