"""docs/families.md lists what the tests check."""

from tests.support.families.page import PAGE, written


def test_the_table_of_families_is_the_one_the_tests_check() -> None:
    text = PAGE.read_text()
    assert text == written(text), "run: python -m tests.support.families.page"
