"""Overrides of choices that are not the best of one ranking: slot after slot (sparsemixer), and looked up by token id."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import moedesk
from moedesk.core.columns import RouteFlag
from moedesk.core.override import Override, OverrideKind
from tests.support.families import build
from tests.support.gathered import gather
from tests.support.overridden import logits, on

FORCE, REPLAY = OverrideKind.FORCE, OverrideKind.REPLAY
IDS = torch.arange(3, 39, 2).view(2, 9)
"""No token twice."""


@pytest.fixture(scope="module")
def phimoe() -> Any:
    return build("phimoe")


@pytest.fixture(scope="module")
def hashed() -> Any:
    """DeepSeek V4, whose first layer looks its experts up."""
    return build("deepseek_v4")


def routes(model: Any, place: int) -> Any:
    recording, gathered = gather(model, logits=True)
    with recording:
        logits(model, IDS)
    return gathered.routes(place)


def sparsemixer(scores: Tensor, forced: list[int], eps: float) -> tuple[list[int], list[float]]:
    """By hand, for one row: the best two, the last places kept for what is forced and not there yet."""
    left, ids, weights = list(forced), [], []
    for slot in range(2):
        open_to = [e for e in range(len(scores)) if e not in ids]
        best = max(open_to, key=lambda e: float(scores[e]))
        if left and best not in left and 2 - slot <= len(left):
            best = max(left, key=lambda e: float(scores[e]))
        left = [e for e in left if e != best]
        size = scores.abs().clamp(min=float(scores[best]))
        seen = [e for e in open_to if (scores[best] - scores[e]) / size[e] <= 2 * eps]
        weights.append(float((scores[best] - scores[seen]).neg().exp().sum().reciprocal()))
        ids.append(best)
    return ids, weights


@pytest.mark.parametrize("number", [1, 2])
def test_sparsemixer_with_forced_experts_is_that_by_hand(phimoe: Any, number: int) -> None:
    plain = routes(phimoe, 0)
    experts = tuple(plain.experts[0, :number].tolist())  # the first row has them anyway
    with on(phimoe, Override(FORCE, (0,), experts)) as overrides:
        found = routes(phimoe, 0)
        acted = overrides.acted(overrides.entries[0])
    eps = phimoe.config.router_jitter_noise
    expected = [sparsemixer(torch.tensor(row), list(experts), eps) for row in plain.logits]
    np.testing.assert_array_equal(found.experts, [ids for ids, _ in expected])
    np.testing.assert_allclose(found.weights, [weights for _, weights in expected], rtol=1e-5)
    had = np.stack([(plain.experts == expert).any(1) for expert in experts]).all(0)
    assert 0 < acted < len(had)
    np.testing.assert_array_equal((found.flags & RouteFlag.OVERRIDDEN) == 0, had)
    np.testing.assert_array_equal(found.weights[had], plain.weights[had])


def test_sparsemixer_that_samples_says_that_nothing_is_forced(phimoe: Any) -> None:
    """In training it ranks six times, and samples: what was tried is another selection."""
    with on(phimoe, Override(FORCE, (0,), (6,))) as overrides:
        phimoe.train()
        logits(phimoe, IDS)
        phimoe.eval()
        assert overrides.acted(overrides.entries[0]) == 0
        assert "select in another way" in overrides.notes[0]


@pytest.mark.parametrize("experts", [(5,), (2, 7)])
def test_forcing_a_looked_up_choice_is_another_table(hashed: Any, experts: tuple[int, ...]) -> None:
    """Each token's row of the table with the expert of the lowest logit replaced, which is then the model's own code."""
    plain = routes(hashed, 0)
    with on(hashed, Override(FORCE, (0,), experts)):
        found, output = routes(hashed, 0), logits(hashed, IDS)
    table = hashed.model.layers[0].mlp.gate.tid2eid
    before = table.clone()
    had = np.stack([(plain.experts == expert).any(1) for expert in experts]).all(0)
    assert 0 < had.sum() < len(had)
    expected = plain.experts.copy()
    for row, ids in enumerate(expected):
        for expert in experts:
            if expert not in ids:
                free = [slot for slot in range(2) if ids[slot] not in experts]
                ids[min(free, key=lambda slot: plain.logits[row, ids[slot]])] = expert
    np.testing.assert_array_equal(found.experts, expected)
    np.testing.assert_array_equal((found.flags & RouteFlag.OVERRIDDEN) == 0, had)
    table[IDS.flatten()] = torch.tensor(expected).to(table)
    again = logits(hashed, IDS)
    table.copy_(before)
    assert torch.equal(output, again)
    assert not torch.equal(output, logits(hashed, IDS))


@pytest.mark.parametrize("name", ["phimoe", "deepseek_v4"])
def test_replayed_ids_go_through_the_models_own_selection(name: str, tmp_path: Path, request: Any) -> None:
    model = request.getfixturevalue({"phimoe": "phimoe", "deepseek_v4": "hashed"}[name])
    forced = Override(FORCE, (), (3,))
    with on(model, forced), moedesk.record(model, tmp_path / "run.h5"):
        expected = logits(model, IDS)
    with on(model, Override(REPLAY, capture=str(tmp_path / "run.h5"))) as overrides:
        found = logits(model, IDS)
        assert not overrides.notes
    assert torch.equal(found, expected)
    assert not torch.equal(found, logits(model, IDS))
