"""docs/metrics.md says of every metric what the code says."""

from pathlib import Path

import pytest

from moedesk.analysis.measures.report import MEANINGS

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", MEANINGS)
def test_the_page_has_the_row_of(key: str) -> None:
    meaning = MEANINGS[key]
    assert f"| `{key}` | {meaning.formula} | {meaning.convention} | {meaning.source} |" in PAGE


def test_the_page_has_no_other_metric() -> None:
    rows = [line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert rows == list(MEANINGS)
