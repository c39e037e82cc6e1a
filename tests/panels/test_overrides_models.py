"""What the Overrides panel says of an override, and how a typed one is read; without a window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.core.selection import NOTHING, Kind, Selection
from moedesk.panels.overrides.model_form import Typed, columns, number, numbers, read, typed
from moedesk.panels.overrides.model_rows import COLUMNS, KIND_HINTS, KINDS, heading, is_about, text
from moedesk.session.overriding import Entry

NUMBERS = st.lists(st.integers(0, 300), max_size=8, unique=True).map(tuple)
VALUES = st.floats(-1e9, 1e9, allow_nan=False)


@st.composite
def overrides(draw: st.DrawFn) -> Override:
    kind = draw(st.sampled_from(OverrideKind))
    first = draw(st.integers(0, 50))
    replay = kind is OverrideKind.REPLAY
    return Override(
        kind,
        draw(NUMBERS),
        draw(NUMBERS.filter(bool)) if kind.names_experts else (),
        draw(VALUES) if kind.unit else None,
        draw(st.sampled_from([None, (first, first + 1), (first, first + 9)])) if kind.by_token else None,
        draw(st.sampled_from([(), ("decode",), ("prefill", "eval")])) if kind.by_phase else (),
        "/tmp/a b.h5" if replay else "",
        replay and draw(st.booleans()),
        draw(st.sampled_from(["", "an idea"])),
    )


@given(overrides())
def test_what_is_typed_for_an_override_means_it(override: Override) -> None:
    assert read(typed(override)) == override


@pytest.mark.parametrize(
    ("typed_text", "meant"),
    [
        ("", ()),
        ("3", (3,)),
        ("3, 5-7", (3, 5, 6, 7)),
        ("3 5 – 7;9", (3, 5, 6, 7, 9)),
        ("7,3", (7, 3)),
        (" 4 ,", (4,)),
    ],
)
def test_numbers_and_runs(typed_text: str, meant: tuple[int, ...]) -> None:
    assert numbers(typed_text, "experts") == meant


@pytest.mark.parametrize("wrong", ["x", "3-", "-3", "7-5", "3.5", "1-9999999999", "3--5"])
def test_what_are_no_numbers_is_said_in_one_line(wrong: str) -> None:
    with pytest.raises(MoedeskError, match="layers: ") as caught:
        numbers(wrong, "layers")
    assert "\n" not in str(caught.value)


def test_columns_are_a_slot_or_a_range_with_its_end_excluded() -> None:
    assert columns(" ") is None
    assert columns("12") == (12, 13)
    assert columns("0 : 16") == (0, 16)
    for wrong in ("0-16", "a", ":16", "1:2:3"):
        with pytest.raises(MoedeskError, match="columns"):
            columns(wrong)


def test_a_value_may_have_a_comma_and_names_its_unit_if_it_is_none() -> None:
    assert number("0,5", "factor") == 0.5
    with pytest.raises(MoedeskError, match="added to the logit"):
        read(Typed(OverrideKind.BIAS, experts="3"))


def test_fields_that_do_not_matter_to_a_kind_are_left_out() -> None:
    form = Typed(OverrideKind.TOP_K, "all", "3", "4", "0:9", ("decode",), "run.h5", True)
    assert read(form) == Override(OverrideKind.TOP_K, value=4.0)


def test_every_kind_has_a_title_and_an_explanation() -> None:
    assert set(KINDS) == set(KIND_HINTS) == set(OverrideKind)


def said(override: Override, on: bool = True, acted: int = 0) -> dict[str, str]:
    return {column: text(Entry(1, on, acted, override), column) for column in COLUMNS}


def test_what_a_row_says() -> None:
    row = said(Override(OverrideKind.BIAS, (0, 1, 2, 5), (7,), -2.0, (4, 5), ("decode",), name="why"), acted=1234)
    assert row == {
        "what": "Bias -2",
        "layers": "0–2, 5",
        "experts": "7",
        "where": "column 4 · decode",
        "name": "why",
        "acted": "1,234",
    }
    row = said(Override(OverrideKind.REPLAY, capture="/data/run.h5", weights=True, columns=(0, 16)))
    assert row["what"] == "Replay run.h5 (ids and weights)"
    assert row["layers"] == "all"
    assert row["where"] == "columns 0:16"
    assert said(Override(OverrideKind.ABLATE, (1,), (2,)))["where"] == "everywhere"


def test_the_heading_counts_what_is_on() -> None:
    entries = [Entry(number, number != 2, 0, Override(OverrideKind.ABLATE, (1,), (2,))) for number in (1, 2)]
    assert heading([]) == "No overrides"
    assert heading(entries[:1]) == "1 override on"
    assert heading(entries) == "1 of 2 overrides on"


def test_what_is_about_the_selection_is_known() -> None:
    ablate = Entry(1, True, 0, Override(OverrideKind.ABLATE, (1, 2), (4,)))
    everywhere = Entry(2, True, 0, Override(OverrideKind.TOP_K, value=1.0))
    expert, layer = Selection(Kind.EXPERT, layer=2, expert=4), Selection(Kind.LAYER, layer=2)
    assert is_about(ablate, expert)
    assert is_about(ablate, layer)
    assert is_about(everywhere, expert)
    assert not is_about(ablate, Selection(Kind.EXPERT, layer=2, expert=5))
    assert not is_about(ablate, Selection(Kind.LAYER, layer=0))
    assert not is_about(everywhere, NOTHING)
