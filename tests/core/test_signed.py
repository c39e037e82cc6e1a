"""Changes as they are shown, and that every place which shows some shows none as -0.000."""

import re
from pathlib import Path

import pytest

import moedesk
from moedesk.core.signed import signed

FORMAT = re.compile(r":\+,?\.\d+[f%g]")


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (-0.0004, 3, "0.000"), (0.0004, 3, "0.000"), (-0.0, 3, "0.000"), (0.0, 3, "0.000"), (-0.0006, 3, "-0.001"),
        (0.0006, 3, "+0.001"), (-12.3456, 2, "-12.35"), (12.0, 2, "+12.00"), (float("nan"), 3, "+nan"),
        (float("-inf"), 3, "-inf"), (-0.004, 2, "0.00"), (-0.4, 0, "0"),
    ],
)  # fmt: skip
def test_a_change_that_rounds_to_zero_has_no_sign(value: float, digits: int, text: str) -> None:
    assert signed(value, digits) == text


def test_changes_are_formatted_in_one_place() -> None:
    folder = Path(moedesk.__file__).parent
    found = [f"{path.name}: {line.strip()}" for path in folder.rglob("*.py") for line in path.read_text("utf-8").splitlines()
             if FORMAT.search(line)]  # fmt: skip
    assert not found
