"""A text alone, in a padded batch, and token by token with a cache is routed alike, wherever the model itself does."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.support.families import build
from tests.support.gathered import Gathered, dense, gather

FAMILIES = ("olmoe", "mixtral", "deepseek_v3", "gpt_oss", "qwen3_moe")
TIGHT = 1e-4
"""Margins below which rounding may swap two experts."""

model_of = cache(build)
texts = st.lists(st.lists(st.integers(3, 99), min_size=2, max_size=7), min_size=2, max_size=3)


def alone(model: nn.Module, text: list[int]) -> Gathered:
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        model(torch.tensor([text]), use_cache=False)
    return gathered


def assert_same(gathered: Gathered, rows: np.ndarray, expected: Gathered) -> None:
    """``rows`` of all passes, in the order of the text, are routed as the text alone."""
    for layer in range(len(expected.model.layers)):
        wanted = expected.routes(layer)
        got = dense(gathered.column("experts", layer)[rows], gathered.column("weights", layer)[rows], 8)
        sure = ~(wanted.margin < TIGHT)
        reference = dense(wanted.experts, wanted.weights, 8)
        np.testing.assert_allclose(got[sure], reference[sure], rtol=1e-3, atol=1e-5)
        if not sure.all():  # later layers see what these tokens became
            return


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family_name", FAMILIES)
@settings(max_examples=5)
@given(batch=texts)
def test_in_a_padded_batch(family_name: str, side: str, batch: list[list[int]]) -> None:
    model, longest = model_of(family_name), max(map(len, batch))
    ids, mask = (torch.zeros(len(batch), longest, dtype=torch.long) for _ in range(2))
    for row, text in enumerate(batch):
        place = slice(longest - len(text), None) if side == "left" else slice(len(text))
        ids[row, place], mask[row, place] = torch.tensor(text), 1
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        model(ids, attention_mask=mask, position_ids=positions, use_cache=False)
    tokens = gathered.tokens()
    assert np.count_nonzero(~tokens["is_padding"]) == sum(map(len, batch))
    for row, text in enumerate(batch):
        mine = np.flatnonzero((tokens["sequence"] == row) & ~tokens["is_padding"])
        np.testing.assert_array_equal(tokens["token_id"][mine], text)
        np.testing.assert_array_equal(tokens["position"][mine], range(len(text)))
        assert_same(gathered, mine, alone(model, text))


@pytest.mark.parametrize("family_name", FAMILIES)
@settings(max_examples=5)
@given(batch=texts)
def test_token_by_token_with_a_cache(family_name: str, batch: list[list[int]]) -> None:
    model, text = model_of(family_name), batch[0]
    recording, gathered = gather(model)
    cached = None
    with torch.no_grad(), recording:
        for token in text:
            cached = model(torch.tensor([[token]]), past_key_values=cached, use_cache=True).past_key_values
    tokens = gathered.tokens()
    np.testing.assert_array_equal(tokens["token_id"], text)
    np.testing.assert_array_equal(tokens["column"], range(len(text)))
    assert set(tokens["sequence"]) == {0}
    assert_same(gathered, np.arange(len(text)), alone(model, text))
