"""The table of docs/audits.md: made, and read again."""

import re
from collections.abc import Iterator, Sequence

from tests.anomalies.array_store import ArrayStore
from tests.anomalies.trial import RUNS, audited, outcomes

HEAD = "| fault | strength | found (recall) | precision | by |"


def markdown(captures: Sequence[ArrayStore], runs: int = RUNS) -> Iterator[str]:
    """Yield the table's lines, and one about the captures without a fault; strengths with a star are promised."""
    sound = sum(not audited(capture) for capture in captures)
    yield f"{sound} of {len(captures)} captures without a fault have no warning and no error."
    yield ""
    yield HEAD
    yield "|---|---|---|---|---|"
    before = ""
    for one in outcomes(captures, runs):
        name = one.trial.name if one.trial.name != before else ""
        what = f" {one.trial.strength}" if name else ""
        star = "*" if one.strength in one.trial.named else ""
        precision = f"{one.precision:.2f}" if one.right + one.wrong else "–"
        before = one.trial.name
        ids = ", ".join(f"`{i}`" for i in sorted(one.trial.ids)) if name else ""
        yield f"| {name} | {one.strength:g}{star}{what} | {one.recall:.2f} | {precision} | {ids} |"


def read(page: str) -> dict[tuple[str, float], tuple[float, float]]:
    """Return (recall, precision) by fault and strength of the table in a page."""
    rows = page.split(HEAD, 1)[1].splitlines()[2:]
    found: dict[tuple[str, float], tuple[float, float]] = {}
    name = ""
    for row in rows:
        if not row.startswith("|"):
            break
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        name = cells[0] or name
        strength = float(re.match(r"[\d.]+", cells[1])[0])  # type: ignore[index]
        found[name, strength] = float(cells[2]), float(cells[3].replace("–", "1"))
    return found
