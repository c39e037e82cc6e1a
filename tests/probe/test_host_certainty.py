"""Entropies and margins of many rows on the host, against a loop over the rows in float64."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from moedesk.probe.finding.ranking import Rule
from moedesk.probe.taking import host_certainty
from moedesk.probe.taking.host_certainty import entropies_and_margins

K = 4
SHAPES = [(3, 700, 16), (5, 40, 64), (1, 3000, 12)]
"""Rows of one layer in parts; layers together; parts that don't come out even."""
RULES = [
    Rule(transform, biased)
    for transform in ("softmax", "sigmoid", "logits", "sqrt(softplus)")
    for biased in (False, True)
]


def scores(rule: Rule, row: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """What a rule ranks by, in float64."""
    match rule.transform:
        case "softmax":
            values = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        case "sigmoid":
            values = 1 / (1 + np.exp(-row))
        case "logits":
            values = row.copy()
        case _:
            values = np.sqrt(np.logaddexp(0, row))
    if rule.biased:
        values = values + bias
    if rule.groups:
        grouped = values.reshape(rule.groups, -1)
        best = np.sort(grouped, 1)[:, -2:].sum(1)
        out = np.isin(np.arange(rule.groups), np.argsort(best)[: -rule.kept])
        grouped[out] = rule.masked
        values = grouped.reshape(-1)
    return values


def by_loop(rule: Rule | None, logits: np.ndarray, ids: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(L, N) entropies and margins."""
    entropy, margin = np.full(ids.shape[:2], np.nan), np.full(ids.shape[:2], np.nan)
    for place in np.ndindex(*ids.shape[:2]):
        row, chosen = logits[place].astype(np.float64), ids[place]
        if np.isnan(row).any() or (row == np.inf).any() or (row == -np.inf).all():
            continue
        shares = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        entropy[place] = -sum(share * np.log(share) for share in shares if share > 0)
        if rule is not None and chosen.min() >= 0:
            values = scores(rule, row, bias[place[0], 0].astype(np.float64))
            others = np.delete(values, chosen)
            if len(others) and others.max() > -np.inf:
                margin[place] = values[chosen].min() - others.max()
    return entropy, margin


def given(shape: tuple[int, int, int], rule: Rule | None, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, the choice of the rule for most rows (for others some other one), and a bias."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator) * 3
    bias = torch.randn((shape[0], 1, shape[2]), generator=generator) / 3
    ids = (logits if rule is None else rule.scores(logits, bias)).topk(K).indices
    ids[:, ::7] = torch.rand(ids[:, ::7].shape[:2] + shape[2:], generator=generator).topk(K).indices
    return logits, ids.char(), bias


def check(rule: Rule | None, logits: Tensor, ids: Tensor, bias: Tensor, probabilities: bool = False) -> None:
    binding: Any = SimpleNamespace(rule=rule, probabilities=probabilities)
    before = logits.clone(), ids.clone(), bias.clone()
    with torch.inference_mode():
        entropy, margin = entropies_and_margins(binding, ids, logits, bias if rule and rule.biased else None)
    for tensor, copy in zip((logits, ids, bias), before, strict=True):
        assert torch.equal(tensor.nan_to_num(), copy.nan_to_num()), "it was written to"
    values = logits.float().log() if probabilities else logits.float()
    expected = by_loop(rule, values.numpy(), ids.numpy(), bias.numpy())
    np.testing.assert_allclose(entropy.numpy(), expected[0], rtol=2e-6, atol=2e-6)
    if rule is None:
        assert margin is None
    else:
        assert margin is not None
        np.testing.assert_allclose(margin.numpy(), expected[1], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rule", [None, *RULES, Rule("sigmoid", True, 4, 2)], ids=lambda rule: rule and rule.label)
def test_by_loop(rule: Rule | None, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_certainty, "SERIAL", 5000)
    check(rule, *given(shape, rule))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_logits_of_other_types(dtype: torch.dtype) -> None:
    logits, ids, bias = given(SHAPES[0], RULES[0])
    check(RULES[0], logits.to(dtype), ids, bias)


def test_probabilities_in_place_of_logits() -> None:
    logits, ids, bias = given(SHAPES[0], RULES[0])
    check(RULES[0], logits.softmax(-1), ids, bias, probabilities=True)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.label)
def test_odd_rows(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ties, experts without a share, NaN and infinite logits, nothing else to choose: and their neighbours are as always."""
    monkeypatch.setattr(host_certainty, "SERIAL", 1600)
    logits, ids, bias = given((2, 400, 16), rule)
    logits[0, 3] = 1.0
    logits[0, 4, :8] = logits[0, 4, 8]
    logits[0, 150, 5:] = -torch.inf
    logits[0, 151] = -torch.inf
    logits[0, 152, 3] = torch.nan
    logits[1, 11] = -torch.inf
    logits[1, 11, ids[1, 11].long()] = 1.0
    logits[1, 12] *= 20
    if rule.transform == "softmax":
        logits[1, 10, 3] = torch.inf
        check(rule, logits, ids, bias)
        return
    binding: Any = SimpleNamespace(rule=rule, probabilities=False)
    given_bias = bias if rule.biased else None
    entropy, margin = entropies_and_margins(binding, ids, logits, given_bias)
    assert margin is not None
    expected = by_loop(rule, logits.numpy(), ids.numpy(), bias.numpy())
    np.testing.assert_allclose(entropy.numpy(), expected[0], rtol=2e-6, atol=2e-6)
    whole = torch.isfinite(logits).all(-1).numpy()
    np.testing.assert_allclose(margin.numpy()[whole], expected[1][whole], rtol=2e-6, atol=2e-6)
    assert margin[0, 152].isnan(), "a logit is NaN"
    if rule.transform == "logits":
        assert margin[1, 11].isnan(), "nothing else could be chosen"


def test_dropped_slots_and_all_chosen() -> None:
    logits, ids, bias = given((2, 400, 16), RULES[0])
    ids[1, 7, 2] = -1
    check(RULES[0], logits, ids, bias)
    check(
        RULES[0], logits[..., :K].contiguous(), torch.arange(K, dtype=torch.int8).expand(2, 400, K).contiguous(), bias
    )
