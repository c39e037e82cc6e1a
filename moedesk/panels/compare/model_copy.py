"""A comparison as text to take along. No Qt."""

import csv
import io
import json
import shlex
from pathlib import Path

from moedesk.panels.compare.model import Comparison


def as_json(comparison: Comparison) -> str:
    """Return what ``moedesk diff --json`` prints."""
    return json.dumps(comparison.found.to_json(), indent=1, ensure_ascii=False, allow_nan=False)


def as_csv(comparison: Comparison) -> str:
    """Return a line for each layer, with the fields of the JSON; unknown numbers are empty."""
    found = comparison.found.to_json()
    first = found["first_divergent"]
    rows = [
        {
            **{key: value for key, value in row.items() if key != "load_difference"},
            "first_divergent": first[row["path"]],
        }
        for row in found["layers"]
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def command_line(comparison: Comparison, mine: Path | None, other: Path | None) -> str | None:
    """Return the command that compares the same two files; None if one of them is not saved."""
    if mine is None or other is None:
        return None
    question = comparison.question
    a, b = (other, mine) if question.swapped else (mine, other)
    precision = ["--precision", question.precision] if question.precision else []
    return shlex.join(["moedesk", "diff", str(a), str(b), *precision])
