"""Which overrides acted on which passes: runs of passes out of rows, against a set of passes written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moedesk.core.acted import Acted, acted_of, first_few, passes_of, passes_text, row, titles_of
from moedesk.core.columns import ACTED
from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.core.override_text import override_of, text_of

ONE, OTHER = Override(OverrideKind.ABLATE, (1,), (3,)), Override(OverrideKind.TEMPERATURE, value=2.0)


def rows(*given: tuple[int, int, int]) -> np.ndarray:
    return np.concatenate([np.empty(0, ACTED), *(row(*one) for one in given)])


def test_a_run_that_is_open_goes_to_the_end() -> None:
    assert acted_of([ONE], rows((0, 4, -1)), 9) == (Acted(ONE, ((4, 9),)),)


def test_a_later_row_says_the_end_of_a_run() -> None:
    found = acted_of([ONE, OTHER], rows((1, 0, -1), (0, 2, -1), (0, 2, 5), (0, 7, -1)), 9)
    assert found == (Acted(OTHER, ((0, 9),)), Acted(ONE, ((2, 5), (7, 9))))


def test_what_makes_no_sense_is_left_out() -> None:
    given = rows((0, 2, 2), (0, -3, 4), (0, 8, 20), (0, 30, -1), (5, 0, 1), (-1, 0, 1))
    assert acted_of([ONE, None], given, 9) == (Acted(ONE, ((8, 9),)),)


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_passes_of_several_count_once(some: set[int], others: set[int]) -> None:
    acted = [Acted(one, tuple((n, n + 2) for n in sorted(passes))) for one, passes in ((ONE, some), (OTHER, others))]
    assert passes_of(acted) == len({n + more for n in some | others for more in (0, 1)})


@given(st.sets(st.integers(0, 30)), st.integers(0, 32), st.integers(0, 32))
def test_whether_it_acted_within_some_passes(passes: set[int], first: int, last: int) -> None:
    runs = tuple((number, number + 1) for number in sorted(passes))
    acted = Acted(ONE, runs)
    assert acted.within(first, last) == bool(passes & set(range(first, last)))
    assert acted.count == len(passes)
    assert titles_of([acted], first, last) == tuple(
        ONE.title if number in passes else "" for number in range(first, last)
    )


def test_long_runs_count_from_within() -> None:
    assert Acted(ONE, ((3, 9),)).within(5, 6)
    assert not Acted(ONE, ((3, 9),)).within(9, 12)
    assert not Acted(ONE, ((3, 9),)).within(6, 6)
    assert titles_of([Acted(OTHER, ((0, 9),)), Acted(ONE, ((3, 5),))], 4, 6) == (
        f"{OTHER.title}; {ONE.title}",
        OTHER.title,
    )


def test_passes_are_said_in_runs() -> None:
    assert passes_text(((3, 8), (12, 13))) == "3–7, 12"
    assert Acted(ONE, ((3, 8),)).said == f"{ONE.title} (passes 3–7)"
    assert Acted(ONE, ((3, 4),)).said == f"{ONE.title} (pass 3)"
    assert passes_text(((0, 1), (2, 3), (4, 5)), 2) == "0, 2 and 1 more runs"


def test_a_line_of_json_gives_the_same_override() -> None:
    override = Override(OverrideKind.REPLAY, (0, 2), columns=(3, 9), phases=("decode",), capture="ä.h5", name="ß")
    assert override_of(text_of(override)) == override
    assert "\n" not in text_of(override)
    for text in ("{", "[]", '{"kind": "nothing"}', "[" * 100_000):
        with pytest.raises(MoedeskError):
            override_of(text)


def test_of_very_many_the_first_ones_are_said() -> None:
    assert first_few(["a", "b"], 2) == ["a", "b"]
    assert first_few((str(n) for n in range(1234)), 2) == ["0", "1", "and 1,232 more"]
