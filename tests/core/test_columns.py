"""Rows of structured columns as bytes: copied whole."""

import numpy as np
import pytest

from moedesk.core.columns import ACTED, PASS, STEP, TOKEN, as_bytes


@pytest.mark.parametrize("dtype", [ACTED, PASS, STEP, TOKEN], ids=["acted", "pass", "step", "token"])
def test_rows_written_as_bytes_are_the_rows(dtype: np.dtype) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (2, 9, dtype.itemsize), np.uint8)
    rows = noise.view(dtype)[..., 0]
    room = np.zeros((2, 20), dtype)
    as_bytes(room)[:, 5:14] = as_bytes(rows)
    assert room.tobytes() == b"".join(
        bytes(5 * dtype.itemsize) + noise[lane].tobytes() + bytes(6 * dtype.itemsize) for lane in range(2)
    )
    assert as_bytes(rows).dtype.names is None, "else each field would be copied for itself"
    assert np.shares_memory(as_bytes(rows), rows)


def test_plain_rows_stay_as_they_are() -> None:
    plain = np.arange(6)
    assert as_bytes(plain) is plain
