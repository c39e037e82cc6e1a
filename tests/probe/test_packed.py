"""Packed rows: several texts in one row are several sequences, whatever says where they begin."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.families import some_ids
from tests.support.gathered import dense, gather

LENGTHS = (4, 1, 6)
POSITIONS = torch.cat([torch.arange(length) for length in LENGTHS])[None]
ENDS = torch.tensor([0, 4, 5, 11], dtype=torch.int32)


@pytest.mark.parametrize("told", [{}, {"cu_seq_lens_q": ENDS, "cu_seq_lens_k": ENDS}])
def test_each_packed_text_routes_as_it_does_alone(olmoe: nn.Module, told: dict[str, Any]) -> None:
    texts = [some_ids(1, length, seed=length) for length in LENGTHS]
    recording, packed = gather(olmoe)
    with torch.no_grad(), recording:
        olmoe(torch.cat(texts, dim=1), position_ids=POSITIONS, use_cache=False, **told)
    rows = packed.tokens()
    np.testing.assert_array_equal(rows["sequence"], np.repeat(range(3), LENGTHS))
    np.testing.assert_array_equal(rows["position"], POSITIONS[0])
    np.testing.assert_array_equal(rows["column"], POSITIONS[0])
    for sequence, ids in enumerate(texts):
        recording, alone = gather(olmoe)
        with torch.no_grad(), recording:
            olmoe(ids)
        mine = rows["sequence"] == sequence
        for layer in range(2):
            got, wanted = packed.routes(layer), alone.routes(layer)
            np.testing.assert_allclose(
                dense(got.experts[mine], got.weights[mine], 8), dense(wanted.experts, wanted.weights, 8), rtol=1e-4
            )


def test_what_variable_length_attention_is_told_wins_over_positions_that_go_on(olmoe: nn.Module) -> None:
    recording, packed = gather(olmoe)
    with torch.no_grad(), recording:
        olmoe(some_ids(1, 11), cu_seq_lens_q=ENDS, position_ids=torch.arange(11)[None], use_cache=False)
    np.testing.assert_array_equal(packed.tokens()["sequence"], np.repeat(range(3), LENGTHS))


def test_the_next_pass_goes_on_counting(olmoe: nn.Module) -> None:
    recording, packed = gather(olmoe)
    with torch.no_grad(), recording:
        olmoe(some_ids(1, 11), position_ids=POSITIONS)
        olmoe(some_ids(2, 11), position_ids=POSITIONS.expand(2, 11))
        olmoe(some_ids(2, 3))
    rows = packed.tokens()
    expected = [*np.repeat(range(3), LENGTHS), *np.repeat(range(3, 9), LENGTHS * 2), *np.repeat([9, 10], 3)]
    np.testing.assert_array_equal(rows["sequence"], expected)


@pytest.mark.parametrize("filler", [0, 1])
def test_left_padding_is_no_packing(olmoe: nn.Module, filler: int) -> None:
    """Padding has position 0 or 1, depending on the version of transformers; the text begins at 0 after it."""
    mask = torch.tensor([[0, 0, 0, 1, 1, 1], [1] * 6])
    positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, filler)
    recording, padded = gather(olmoe)
    with torch.no_grad(), recording:
        olmoe(some_ids(2, 6), attention_mask=mask, position_ids=positions)
    np.testing.assert_array_equal(padded.tokens()["sequence"], [0] * 6 + [1] * 6)
