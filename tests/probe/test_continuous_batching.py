"""Continuous batching: one row of parts of many requests, which come and go; against each request's text alone."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import ContinuousBatchingConfig, GenerationConfig

from moedesk.core.columns import Phase
from tests.support.families import build
from tests.support.gathered import dense, gather

PROMPTS = [[3, 4, 5], [6, 7, 8, 9, 10]]
SMALL = ContinuousBatchingConfig(num_blocks=8, max_batch_tokens=16)
"""By itself it takes nine tenths of the memory that there is."""


@pytest.fixture
def model() -> nn.Module:
    return build("olmoe")


def test_rows_are_those_of_the_requests_tokens(model: nn.Module) -> None:
    recording, gathered = gather(model)
    config = GenerationConfig(max_new_tokens=3, do_sample=False, eos_token_id=-1, pad_token_id=0)
    with recording:
        answers = model.generate_batch(PROMPTS, generation_config=config, continuous_batching_config=SMALL)
    assert gathered.phases == [Phase.PREFILL, Phase.DECODE, Phase.DECODE]
    assert gathered.notes == ["continuous batching: each request is a sequence of its own in every pass, numbered anew"]
    rows = gathered.tokens()
    assert [len(set(batch.tokens["main"]["sequence"])) for batch in gathered.batches] == [2, 2, 2]
    texts = [prompt + answers[f"req_{place}"].generated_tokens for place, prompt in enumerate(PROMPTS)]
    assert len(rows) == sum(len(text) - 1 for text in texts)
    for text in texts:
        alone, expected = gather(model)
        with torch.no_grad(), alone:
            model(torch.tensor([text[:-1]]))
        places = [
            np.flatnonzero((rows["token_id"] == token) & (rows["position"] == position))
            for position, token in enumerate(text[:-1])
        ]
        assert all(len(place) == 1 for place in places)
        mine = np.concatenate(places)
        for layer in range(2):
            routed = dense(gathered.column("experts", layer)[mine], gathered.column("weights", layer)[mine], 8)
            routes = expected.routes(layer)
            np.testing.assert_allclose(routed, dense(routes.experts, routes.weights, 8), rtol=1e-4)
