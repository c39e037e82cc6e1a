"""Sides of the checks' lines that a single change of a check would move: each against numbers worked out here."""

from dataclasses import replace
from itertools import pairwise
from math import log, sqrt

import numpy as np
import pytest

from moedesk.analysis.audit import audit
from moedesk.core.columns import STEP, PassFlag, RouteFlag
from moedesk.core.label import Label
from tests.support.audited import EXPERTS, PASSES, ROWS, found, healthy, of_logits
from tests.support.memory_store import MemoryStore


def kinds(store: MemoryStore) -> set[str]:
    return {one[0] for one in found(store)}


def wilson(count: int, total: int) -> tuple[float, float]:
    """E. B. Wilson 1927, as the roots of (p − x)² = z²·x·(1 − x)/n."""
    z2, p = 1.959963984540054**2, count / total
    a, b, c = 1 + z2 / total, -(2 * p + z2 / total), p * p
    root = sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


@pytest.mark.parametrize(("both", "either"), [(94, 100), (940, 1000)])
def test_a_pair_is_always_together_only_where_that_is_sure(both: int, either: int) -> None:
    """94 of 100 may be chance; of 1,000 it is none."""
    store = healthy()
    chosen = store.layers[0].experts
    chosen[:] = np.random.default_rng(1).permuted(np.tile([0, 1, 3, 4, 5, 7], (ROWS, 1)), axis=1)[:, :2]
    chosen[:either] = [2, 6]
    chosen[both:either, 1] = 0
    low, high = wilson(both, either)
    assert low < 0.9 < high or low > 0.9
    assert (("duplicate-experts", "layers.0", 2) in found(store)) == (low > 0.9)


@pytest.mark.parametrize(("share", "said"), [(0.4, True), (0.6, False)])
def test_a_pair_that_most_tokens_choose_is_together_anyway(share: float, said: bool) -> None:
    store = healthy()
    chosen = store.layers[0].experts
    chosen[:] = np.random.default_rng(1).permuted(np.tile([0, 1, 3, 4, 5, 7], (ROWS, 1)), axis=1)[:, :2]
    chosen[: int(share * ROWS)] = [2, 6]
    assert ("duplicate-experts" in kinds(store)) == said


def uneven(shares: list[float]) -> np.ndarray:
    """(ROWS, 2) choices: in each sixth, so large a share of the tokens goes to experts 0 and 1, the rest evenly."""
    rng = np.random.default_rng(2)
    chosen = np.argsort(rng.random((ROWS, EXPERTS)), axis=1)[:, :2].astype(np.int8)
    for part, share in enumerate(shares):
        rows = np.arange(part * ROWS // 6, (part + 1) * ROWS // 6)
        chosen[rows[rng.random(len(rows)) < share]] = [0, 1]
    return chosen


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ([0.0, 0.2, 0.35, 0.5, 0.6, 0.7], True),
        ([0.0, 0.2, 0.6, 0.3, 0.6, 0.7], False),  # more even again, for a while
        ([0.0, 0.2, 0.3, 0.36, 0.41, 0.45], False),  # not far enough
    ],
)
def test_a_layer_is_on_its_way_to_collapse_if_its_load_never_gets_more_even(shares: list[float], said: bool) -> None:
    store = healthy()
    store.layers[1].experts = uneven(shares)
    entropies = []
    for part in np.array_split(store.layers[1].experts, 6):
        load = np.bincount(part.ravel(), minlength=EXPERTS) / part.size
        entropies.append(float(-(load * np.log(load)).sum()) / log(EXPERTS))
    falls, rises = entropies[0] - entropies[-1], max(b - a for a, b in pairwise(entropies))
    assert (falls >= 0.15 and rises <= 0.02) == said
    assert abs(falls - 0.15) > 0.01  # on neither side by chance
    assert (("collapse-trend", "layers.1", None) in found(store)) == said


def test_two_padding_ids_in_a_row_are_of_one_sequence() -> None:
    """The last token of each sequence and the first of the next lie side by side, and are text."""
    store = healthy(config={"norm_topk_prob": False, "pad_token_id": 0})
    tokens = store.streams["main"]
    tokens["token_id"][99::100] = tokens["token_id"][::100] = 0
    assert "padding-counted" not in kinds(store)
    tokens["token_id"][98::100] = 0
    assert "padding-counted" in kinds(store)


def test_what_else_is_marked_as_padding_is_its_id() -> None:
    store = healthy()
    tokens = store.streams["main"]
    tokens["token_id"][97:100] = tokens["token_id"][190:200] = 3
    assert "padding-counted" not in kinds(store)
    tokens["is_padding"][97:100] = True
    assert "padding-counted" in kinds(store)


@pytest.mark.parametrize("flag", [PassFlag.SAMPLED, PassFlag.COUNTS_ONLY])
def test_counts_and_rows_are_not_compared_where_a_pass_kept_some_rows_only(
    monkeypatch: pytest.MonkeyPatch, flag: PassFlag
) -> None:
    store = healthy()
    real = store.window_counts()
    real[2][0] += 1
    monkeypatch.setattr(store, "window_counts", lambda *_: real, raising=False)
    assert "counts-differ" in kinds(store)
    store.passes["flags"][5] = flag
    assert kinds(store) == {"left-out"}


def test_counts_and_rows_are_not_compared_in_a_recording_that_was_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    store = healthy()
    real = store.window_counts()
    real[2][0] += 1
    monkeypatch.setattr(store, "window_counts", lambda *_: real, raising=False)
    assert kinds(replace(store, complete=False)) >= {"incomplete"}
    store.complete = False
    assert kinds(store) == {"incomplete"}


@pytest.mark.parametrize("identity", [0, 3])
def test_identity_experts_have_no_weights(identity: int) -> None:
    """8,000 numbers of two bytes are those of the experts that compute something."""
    store = healthy()
    layers = tuple(replace(layer, identity=identity) if layer.place == 0 else layer for layer in store.model.layers)
    store.model = replace(store.model, layers=layers)
    z = np.random.default_rng(10).normal(0, 1.5, (ROWS, EXPERTS))
    z[:, 5] = -50
    store.layers[0] = of_logits(z)
    (one,) = [one for one in audit(store).findings if one.id == "untouched-weights"]
    assert one.evidence["bytes"] == 8000 * 2 // (EXPERTS - identity)


@pytest.mark.parametrize(("elsewhere", "said"), [(0.4, True), (0.6, False)])
def test_a_label_is_on_one_expert_if_others_are_not(elsewhere: float, said: bool) -> None:
    store = healthy()
    store.labels = (Label("code", 0, 24), Label("prose", 24, 48))
    rng = np.random.default_rng(8)
    chosen = store.layers[0].experts
    chosen[:] = rng.permuted(np.tile([0, 1, 2, 3, 5, 6, 7], (ROWS, 1)), axis=1)[:, :2]
    chosen[:2400, 0] = 4
    rest = 2400 + np.flatnonzero(rng.random(2400) < elsewhere)
    chosen[rest, 0] = 4
    assert abs(len(rest) / 2400 - 0.5) > 0.05
    assert (("domain-on-one-expert", "layers.0", 4) in found(store)) == said


def test_an_expert_that_no_label_uses_is_dead_not_unused() -> None:
    store = healthy()
    store.labels = (Label("code", 0, 24), Label("prose", 24, 48))
    z = np.random.default_rng(8).normal(0, 1.5, (ROWS, EXPERTS))
    z[:, 3] = -99
    store.layers[0] = of_logits(z)
    assert kinds(store) == {"dead-expert", "untouched-weights"}


@pytest.mark.parametrize("flag", [PassFlag.FAILED, PassFlag.LATE])
def test_passes_that_failed_or_came_late_say_nothing_of_a_rank(flag: PassFlag) -> None:
    """They took ten times as long; four of a rank's passes that remain are too few."""
    store = healthy()
    store.passes["rank"] = np.arange(PASSES) % 2
    store.passes["t1_ns"][1:8:2] = 10_000_000
    assert "straggler" in kinds(store)
    store.passes["flags"][1:8:2] = flag
    assert "straggler" not in kinds(store)
    store.passes["flags"] = 0
    store.passes["t1_ns"][1::2] = 10_000_000
    store.passes["flags"][9::2] = flag
    assert "straggler" not in kinds(store)


def test_layers_of_few_different_sets_are_no_copies() -> None:
    """Two collapsed routers look alike, though neither was written over the other."""
    store = healthy()
    sets = np.array([[0, 1], [2, 3], [4, 5], [6, 7], [0, 2], [1, 3], [4, 6]], np.int8)
    choice = np.random.default_rng(3).integers(0, len(sets), ROWS)
    for layer in (1, 3):
        store.layers[layer].experts = sets[choice].copy()
    assert "copied-layer" not in kinds(store)
    more = np.random.default_rng(3).integers(0, len(sets) + 1, ROWS)
    for layer in (1, 3):
        store.layers[layer].experts = np.concatenate([sets, [[5, 7]]]).astype(np.int8)[more]
    assert "copied-layer" in kinds(store)


@pytest.mark.parametrize(("share", "said"), [(0.88, False), (0.92, True)])
def test_layers_that_mostly_agree_are_copies(share: float, said: bool) -> None:
    store = healthy()
    own = np.random.default_rng(4).random(ROWS) > share
    store.layers[3].experts = np.where(own[:, None], store.layers[3].experts, store.layers[1].experts)
    agree = (np.sort(store.layers[3].experts, 1) == np.sort(store.layers[1].experts, 1)).all(1).mean()
    assert (agree >= 0.9) == said
    assert ("copied-layer" in kinds(store)) == said


def test_rows_that_a_layer_did_not_see_are_not_compared() -> None:
    """Padding before and between: a copy is one by the tokens' places, not by their order among those kept."""
    store = healthy()
    store.layers[3] = replace(store.layers[1], flags=store.layers[1].flags.copy())
    store.layers[3].flags[::7] = RouteFlag.ABSENT
    assert ("copied-layer", "layers.3", None) in found(store)


@pytest.mark.parametrize(("steps", "said"), [(2, False), (3, True)])
def test_equal_norms_take_three_measured_steps(steps: int, said: bool) -> None:
    store = healthy()
    store.steps = np.zeros(4, STEP)
    store.steps["step"], store.steps["loss"] = np.arange(4), 2.0
    norms = np.random.default_rng(9).uniform(1, 2, (4, EXPERTS)).astype(np.float32)
    norms[:, 5] = norms[:, 6]
    norms[steps:] = np.nan  # not measured
    store.norms = {("outputs", 1): norms}
    assert (("equal-norms", "layers.1", 5) in found(store)) == said
