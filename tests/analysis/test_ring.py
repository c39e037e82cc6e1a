"""The ring of columns against a plain dict of columns."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moedesk.analysis.ring import ColumnRing

PUTS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 14)), min_size=1, max_size=12)


def column(number: int, version: int) -> np.ndarray:
    return np.array([number, number * 2 + version, version])


@given(st.integers(1, 10), PUTS)
def test_it_holds_what_was_put_last(capacity: int, puts: list[tuple[int, int]]) -> None:
    ring = ColumnRing(capacity, {"a": ((3,), np.int64), "n": ((), np.int64)})
    held: dict[int, np.ndarray] = {}
    for version, (first, count) in enumerate(puts):
        numbers = range(first, first + count)
        written = ring.put(
            first,
            {
                "a": np.stack([column(number, version) for number in numbers], axis=1),
                "n": np.array([number + version for number in numbers]),
            },
        )
        kept = list(numbers)[-capacity:]
        assert written == (kept[0], kept[-1] + 1)
        touching = not held or (kept[0] <= max(held) + 1 and kept[-1] + 1 >= min(held))
        before = set(held) if touching else set()
        held = {number: held[number] for number in before}
        held.update({number: column(number, version) for number in kept})
        while len(held) > capacity:  # the far end goes
            del held[min(held) if kept[-1] == max(held) else max(held)]
        assert (ring.first, ring.last) == (min(held), max(held) + 1)
        assert len(ring) == len(held)
        everything = ring.get("a", -5, 100)
        assert np.array_equal(everything, np.stack([held[number] for number in sorted(held)], axis=1))
        assert ring.get("n", -5, 100).tolist() == [int(held[number][0] + held[number][2]) for number in sorted(held)]
        for number, values in held.items():
            assert np.array_equal(ring["a"][:, number % capacity], values)
        for first_column, place, length in ring.segments(ring.first, ring.last):
            assert first_column % capacity == place
            assert place + length <= capacity


@given(PUTS, st.integers(0, 60), st.integers(1, 10))
def test_putting_what_is_missing_makes_it_hold_all(puts: list[tuple[int, int]], first: int, count: int) -> None:
    ring = ColumnRing(10, {"n": ((), np.int64)})
    for start, length in puts:
        ring.put(start, {"n": np.arange(start, start + length)})
    missing = ring.missing(first, first + count)
    if missing is not None:
        ring.put(missing[0], {"n": np.arange(*missing)})
    assert ring.missing(first, first + count) is None
    assert ring.get("n", first, first + count).tolist() == list(range(first, first + count))
