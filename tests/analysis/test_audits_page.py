"""docs/audits.md says of every kind of finding what the code says."""

from pathlib import Path

import pytest

from moedesk.analysis.checks.check import About
from moedesk.analysis.checks.registry import CHECKS
from moedesk.analysis.finding import CATEGORIES, SEVERITIES

PAGE = (Path(__file__).parents[2] / "docs" / "audits.md").read_text(encoding="utf-8")
TABLE = PAGE.split("## Checks\n")[1].split("\n## ")[0]
ABOUTS = [about for check in CHECKS for about in check.abouts]


@pytest.mark.parametrize("about", ABOUTS, ids=lambda about: about.id)
def test_the_page_has_the_row_of(about: About) -> None:
    row = f"| `{about.id}` | {about.category} | {about.what} | {about.severity} | {about.threshold} | {about.source} |"
    assert row in TABLE.splitlines()
    assert about.category in CATEGORIES
    assert about.severity in SEVERITIES


def test_the_page_has_no_other() -> None:
    assert [line.split("`")[1] for line in TABLE.splitlines() if line.startswith("| `")] == [one.id for one in ABOUTS]
    assert len({about.id for about in ABOUTS}) == len(ABOUTS) >= 20
