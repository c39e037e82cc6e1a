"""However the experts are computed, and in whatever numbers: what they received is what is captured."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from tests.support.families import build, some_ids
from tests.support.gathered import Gathered, gather
from tests.support.received import Received

FAMILIES = ("olmoe", "mixtral", "deepseek_v3", "gpt_oss", "qwen3_moe")
ELSEWHERE = {"deepgemm", "sonicmoe"}
"""Need a GPU; they are called as the others are, so what a test here shows holds for them too, once they run."""


@pytest.fixture
def own_implementation() -> Any:
    """The name of an implementation that a user registered."""

    def backwards(module: nn.Module, hidden: Any, ids: Any, weights: Any) -> Any:
        """Sums over the experts in the other order."""
        flipped = ALL_EXPERTS_FUNCTIONS["batched_mm"](module, hidden, ids.flip(-1), weights.flip(-1))
        return flipped.to(hidden.dtype)

    ALL_EXPERTS_FUNCTIONS.register("backwards", backwards)
    yield "backwards"
    ALL_EXPERTS_FUNCTIONS._global_mapping.pop("backwards", None)


def assert_captured(gathered: Gathered, received: Received) -> None:
    assert len(received.calls) == sum(len(batch.layers) for batch in gathered.batches) > 0
    given = iter(received.calls)
    for batch in gathered.batches:
        for routes in batch.layers:
            ids, weights = next(given)
            np.testing.assert_array_equal(routes.experts, ids)
            np.testing.assert_array_equal(routes.weights, weights)


@pytest.mark.parametrize("family_name", FAMILIES)
def test_every_implementation_switched_between_passes(family: Any, family_name: str, own_implementation: str) -> None:
    model = family(family_name)
    names = ["eager", *sorted(set(ALL_EXPERTS_FUNCTIONS.keys()) - ELSEWHERE), "eager"]
    assert {"eager", "grouped_mm", "batched_mm", own_implementation} <= set(names)
    before = model.config._experts_implementation
    recording, gathered = gather(model)
    try:
        with torch.no_grad(), Received(model) as received, recording:
            for name in names:
                model.set_experts_implementation(name)
                model(some_ids())
    finally:
        model.set_experts_implementation(before)
    assert len(gathered.batches) == len(names)
    assert_captured(gathered, received)
    for batch in gathered.batches[1:]:
        for routes, eager in zip(batch.layers, gathered.batches[0].layers, strict=True):
            np.testing.assert_array_equal(np.sort(routes.experts), np.sort(eager.experts))


@pytest.mark.parametrize("name", sorted(ELSEWHERE & set(ALL_EXPERTS_FUNCTIONS.keys())))
def test_one_that_cannot_run_here_says_so_itself_and_the_next_pass_is_fine(olmoe: nn.Module, name: str) -> None:
    before = olmoe.config._experts_implementation
    recording, gathered = gather(olmoe)
    try:
        with torch.no_grad(), recording, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            olmoe(some_ids())
            olmoe.set_experts_implementation(name)
            with pytest.raises(Exception, match=r"(?i)kernel|cuda|gpu|hopper|triton|deepgemm|sonic"):
                olmoe(some_ids())
            olmoe.set_experts_implementation(before)
            olmoe(some_ids())
    finally:
        olmoe.set_experts_implementation(before)
    assert [bool(batch.header["flags"]) for batch in gathered.batches] == [False, True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("family_name", FAMILIES)
def test_every_dtype(family_name: str, dtype: torch.dtype) -> None:
    model = build(family_name).to(dtype)
    if dtype is torch.float64:
        model.set_experts_implementation("eager")  # grouped_mm takes no float64
    recording, gathered = gather(model, logits=True)
    with torch.no_grad(), Received(model) as received, recording:
        for _ in range(2):
            model(some_ids())
    assert_captured(gathered, received)
    for batch in gathered.batches:
        for routes in batch.layers:
            assert routes.weights.dtype == np.float32
            assert np.isfinite(routes.weights).all()
            assert np.isfinite(routes.logits).all()
            assert not routes.flags.any()
