"""``moedesk audit``: what is wrong with a capture's routing, and what to do."""

import argparse
import json

NAME = "audit"
HELP = "check a capture's routing for dead and hot experts, collapse, drops, NaN and more"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="a capture")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, whose fields stay as they are")
    form.add_argument("--html", action="store_true", help="print one self-contained HTML page")
    parser.add_argument(
        "--fail-on", choices=("warning", "error"), help="exit with 1 if there is a finding at least that severe"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; return 1 if one is as severe as ``--fail-on`` says."""
    from moedesk.analysis.audit import audit
    from moedesk.analysis.audit_html import as_html
    from moedesk.analysis.finding_text import as_text
    from moedesk.capture.open import open_capture

    with open_capture(arguments.file) as capture:
        report = audit(capture)
        if arguments.json:
            print(json.dumps(report.to_json(), indent=1, allow_nan=False))
        else:
            print((as_html if arguments.html else as_text)(capture.name, report))
    return int(arguments.fail_on is not None and report.reaches(arguments.fail_on))
