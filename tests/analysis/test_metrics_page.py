"""docs/metrics.md says of every metric what the code says."""

from pathlib import Path

import pytest

from moedesk.analysis.expert.friends import FEWEST, FORMULAS
from moedesk.analysis.expert.survey import SAMPLE
from moedesk.analysis.measures.report import MEANINGS
from moedesk.analysis.measures.vocabulary import FEWEST as OFTEN

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", MEANINGS)
def test_the_page_has_the_row_of(key: str) -> None:
    meaning = MEANINGS[key]
    assert f"| `{key}` | {meaning.formula} | {meaning.convention} | {meaning.source} |" in PAGE


def test_the_page_has_no_other_metric() -> None:
    rows = [line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert rows == list(MEANINGS)


def test_the_page_has_what_is_said_of_one_expert() -> None:
    section = PAGE.partition("## One expert")[2].partition("\n## ")[0]
    for formula in FORMULAS.values():
        assert f"| {formula.partition(':')[0]} |" in section
    assert f"{SAMPLE:,}" in section
    assert f"expected on at least {FEWEST} tokens" in section
    assert f"… ids used ≥ {OFTEN} times" in section
