"""The small reduction against the large one, which is compared with the models themselves elsewhere."""

import numpy as np
import pytest
import torch

from moedesk.probe.finding import probabilities, ranking
from moedesk.probe.finding.ranking import Rule
from moedesk.probe.taking import small_reduction

LAYERS, ROWS, EXPERTS, K = 3, 5, 16, 4


def values(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((LAYERS, ROWS, EXPERTS), generator=generator) * 3
    return logits, logits.topk(K).indices


def odd_values() -> tuple[torch.Tensor, torch.Tensor]:
    """Excluded experts, NaN and infinite logits, dropped slots, a row where nothing else could be chosen."""
    logits, ids = values(9)
    logits[0, 0, 5:] = -torch.inf
    logits[0, 1, 3] = torch.nan
    logits[0, 2, 3] = torch.inf
    logits[1, 0, :] = -torch.inf
    logits[1, 0, ids[1, 0]] = 1.0
    ids[2, 3, 1] = -1
    return logits, ids


@pytest.mark.parametrize("given", [values(1), values(2), odd_values()])
def test_entropies_and_margins_are_those_of_the_large_one(given: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, ids = given
    entropy, powers, totals = ranking.entropies(logits)
    shares = powers / totals.unsqueeze(-1)
    small_entropy, small_shares = small_reduction.entropies(logits.numpy())
    np.testing.assert_allclose(small_entropy, entropy.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(small_shares, shares.numpy(), rtol=1e-5, atol=1e-7)
    margin = ranking.margins(logits.clone(), ids)
    np.testing.assert_array_equal(small_reduction.margins(logits.numpy(), ids.numpy().astype("i1")), margin.numpy())


@pytest.mark.parametrize("transform", ["softmax", "sigmoid", "logits"])
@pytest.mark.parametrize("biased", [False, True])
def test_scores_are_those_of_the_rule(transform: str, biased: bool) -> None:
    logits, _ = values(4)
    bias = torch.linspace(-1, 1, LAYERS * EXPERTS).reshape(LAYERS, 1, EXPERTS) if biased else None
    rule = Rule(transform, biased)
    _, shares = small_reduction.entropies(logits.numpy())
    scores = small_reduction.scores(rule, logits.numpy(), None if bias is None else bias.numpy(), shares)
    np.testing.assert_allclose(scores, rule.scores(logits, bias).numpy(), rtol=2e-5, atol=1e-6)


def test_values_are_left_as_they_are() -> None:
    logits, ids = values(5)
    before = logits.clone()
    small_reduction.entropies(logits.numpy())
    small_reduction.margins(logits.numpy(), ids.numpy())
    assert torch.equal(logits, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_floats_are_the_same_values(dtype: torch.dtype) -> None:
    tensor = torch.randn(LAYERS, ROWS, K).to(dtype)
    values = small_reduction.floats(tensor)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, tensor.float().numpy())


def test_logits_of_probabilities_are_those_of_the_large_one() -> None:
    shares = torch.tensor([[0.5, 0.25, 0.25, 0.0]])
    np.testing.assert_allclose(
        small_reduction.to_logits(shares.numpy()), probabilities.to_logits(shares).numpy(), rtol=1e-6
    )


def test_long_passes_and_groups_are_left_to_the_large_one() -> None:
    assert small_reduction.is_small(8 * EXPERTS, Rule("softmax"))
    assert not small_reduction.is_small(8000 * EXPERTS, Rule("softmax"))
    assert not small_reduction.is_small(8 * EXPERTS, Rule("sigmoid", groups=4, kept=2))
    assert not small_reduction.is_small(8 * EXPERTS, Rule("sqrt(softplus)"))
