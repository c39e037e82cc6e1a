"""Before and after as data: losses, where texts part, and its way through a message."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from moedesk.core.before_after import BeforeAfter
from moedesk.core.errors import MoedeskError

NAN = float("nan")
EXAMPLE = BeforeAfter(
    ids=np.array([5, 6, 7, 8]),
    texts=("a", "b", "c", "d"),
    prompt=2,
    before=np.array([NAN, -1.0, -2.0, -3.0], np.float32),
    after=np.array([NAN, -1.0, -2.0, -6.0], np.float32),
    written_ids=np.array([7, 9]),
    written=("c", "e"),
    counts_before=(np.array([3, 5]), np.array([1, 2, 3])),
    counts_after=(np.array([8, 0]), np.array([1, 2, 3])),
    overrides=("ablate expert 1 in layer 0",),
    notes=("a note",),
)


def test_losses_are_means_over_what_has_a_probability() -> None:
    assert (EXAMPLE.loss_before, EXAMPLE.loss_after) == (2.0, 3.0)
    assert np.isnan(replace(EXAMPLE, before=np.full(4, NAN, np.float32)).loss_before)


@pytest.mark.parametrize(
    ("written", "part"), [([7, 8], None), ([7, 9], 1), ([9, 8], 0), ([7], 1), ([7, 8, 9], 2), ([], 0)]
)
def test_where_the_continuations_part(written: list[int], part: int | None) -> None:
    ids = np.array(written, np.int64)
    assert replace(EXAMPLE, written_ids=ids, written=("x",) * len(ids)).first_difference == part


def test_it_comes_back_from_a_message() -> None:
    value, arrays = EXAMPLE.to_parts()
    again = BeforeAfter.from_parts(json.loads(json.dumps(value)), arrays)
    for field in fields(BeforeAfter):
        one, other = getattr(EXAMPLE, field.name), getattr(again, field.name)
        if isinstance(one, np.ndarray) or field.name.startswith("counts"):
            assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))
        else:
            assert one == other


def test_what_makes_no_sense_is_refused() -> None:
    value, arrays = EXAMPLE.to_parts()
    for wrong in ({**value, "texts": ["a"]}, {**value, "texts": 3}, {**value, "prompt": 9}, {"prompt": 1}):
        with pytest.raises(MoedeskError, match="before and after"):
            BeforeAfter.from_parts(wrong, arrays)
    with pytest.raises(MoedeskError, match="before and after"):
        BeforeAfter.from_parts(value, {name: array for name, array in arrays.items() if name != "after"})
    with pytest.raises(MoedeskError, match="before and after"):
        BeforeAfter.from_parts(value, {name: array for name, array in arrays.items() if name != "counts_after.1"})


def test_what_the_console_prints() -> None:
    assert repr(EXAMPLE).splitlines() == [
        "ablate expert 1 in layer 0",
        "prompt  ab",
        "before  cd",
        "after   ce",
        "Loss 2.0000 → 3.0000 (+1.0000) nats a token, over 3 tokens of the text before · "
        "the new texts part at token 2 of 2",
        "log-probability, changed most: d (#3) -3.000",
        "slots that went to other experts: L0 62.5%, L1 0.0%",
        "a note",
    ]
