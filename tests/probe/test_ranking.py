"""Scores and margins against loops over rows and experts."""

import math

import pytest
import torch

from moedesk.probe.finding.ranking import Evidence, RankingObserver, Rule, entropies, fit_rule, margins


def scores_by_loop(row: list[float], bias: list[float], rule: Rule) -> list[float]:
    if rule.transform == "softmax":
        total = sum(math.exp(z) for z in row)
        scores = [math.exp(z) / total for z in row]
    elif rule.transform == "sigmoid":
        scores = [1 / (1 + math.exp(-z)) for z in row]
    elif rule.transform == "sqrt(softplus)":
        scores = [math.sqrt(math.log1p(math.exp(z))) for z in row]
    else:
        scores = list(row)
    if rule.biased:
        scores = [score + b for score, b in zip(scores, bias, strict=True)]
    if rule.groups:
        size = len(scores) // rule.groups
        groups = [scores[g * size : (g + 1) * size] for g in range(rule.groups)]
        rank = [sum(sorted(group)[-2:]) if rule.pair else max(group) for group in groups]
        kept = sorted(range(rule.groups), key=lambda g: -rank[g])[: rule.kept]
        scores = [score if g in kept else rule.masked for g, group in enumerate(groups) for score in group]
    return scores


@pytest.mark.parametrize("masked", [float("-inf"), 0.0])
@pytest.mark.parametrize("pair", [True, False])
@pytest.mark.parametrize("groups", [(0, 0), (4, 2), (2, 1)])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("transform", ["softmax", "sigmoid", "logits", "sqrt(softplus)"])
def test_scores_by_loop(transform: str, biased: bool, groups: tuple[int, int], pair: bool, masked: float) -> None:
    generator = torch.Generator().manual_seed(7)
    logits, bias = torch.randn(6, 8, generator=generator), torch.randn(8, generator=generator) * 0.1
    rule = Rule(transform, biased, *groups, pair, masked)
    expected = [scores_by_loop(row, bias.tolist(), rule) for row in logits.tolist()]
    torch.testing.assert_close(rule.scores(logits, bias), torch.tensor(expected))


def test_margins() -> None:
    scores = torch.tensor(
        [[0.5, 0.1, 0.3, 0.2], [0.9, -torch.inf, -torch.inf, 0.4], [0.1, 0.2, 0.3, 0.4], [1.0, 2, 3, 4]]
    )
    ids = torch.tensor([[0, 2], [0, 3], [0, 3], [3, -1]])
    got = margins(scores, ids)
    torch.testing.assert_close(got[0], torch.tensor(0.1))
    assert math.isnan(got[1]), "no other candidate"
    torch.testing.assert_close(got[2], torch.tensor(-0.2)), "sampled, not the best"
    assert math.isnan(got[3]), "a slot was dropped"


def observe(rank: torch.Tensor, logits: torch.Tensor, added: bool, bias: torch.Tensor) -> Evidence:
    observer = RankingObserver()
    observer.start()
    if added:
        _ = logits.sigmoid() + bias
    ids = rank.topk(2).indices
    assert observer.stop()
    return Evidence(logits, ids, observer, {"bias": bias})


def test_an_unknown_score_is_not_guessed() -> None:
    logits = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    assert fit_rule(observe(logits.sin(), logits, False, torch.zeros(8))) is None


def test_a_vector_beside_the_router_that_is_not_used_is_no_bias() -> None:
    logits = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    rule = Rule("sigmoid")
    fitted = fit_rule(observe(logits.sigmoid(), logits, False, torch.ones(8)))
    assert fitted is not None
    assert (fitted[0].label, fitted[1]) == (rule.label, "")
    zero = fit_rule(observe(logits.sigmoid(), logits, True, torch.zeros(8)))
    assert zero is not None
    assert (zero[0].label, zero[1]) == ("sigmoid+bias", "bias")


def test_entropy_with_experts_that_have_no_share() -> None:
    logits = torch.tensor([[0.0, 0.0, -torch.inf, -torch.inf], [1.0, 1.0, 1.0, 1.0], [0.0, torch.nan, 0.0, 0.0]])
    got, powers, totals = entropies(logits)
    shares = powers / totals.unsqueeze(-1)
    torch.testing.assert_close(got[:2], torch.tensor([math.log(2), math.log(4)]))
    assert math.isnan(got[2])
    torch.testing.assert_close(shares[0], torch.tensor([0.5, 0.5, 0.0, 0.0]))
