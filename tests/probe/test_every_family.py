"""Every MoE family: what moedesk recorded, against what the model's experts were called with, its own outputs, and a replay."""

from functools import cache

import numpy as np
import pytest
import torch

from moedesk.core.columns import RouteFlag, TokenKind
from moedesk.probe.adapters.registry import built_in
from tests.support.families import FAMILIES
from tests.support.families.observed import Observed, doubled, flat, observe
from tests.support.families.rules import published_choice

EVERY = pytest.mark.parametrize("name", FAMILIES)


@cache
def observed(name: str) -> Observed:
    return observe(FAMILIES[name])


@EVERY
def test_every_layer_that_ran_is_known_for_what_it_is(name: str) -> None:
    run = observed(name)
    found, expected = run.gathered.model.layers, run.family.layers
    assert sorted(layer.experts_path for layer in found) == sorted(seen.path for seen in run.seen)
    columns = ("experts", "top_k", "shared", "score", "selection", "identity", "stream", "adapter")
    for column in columns:
        assert [getattr(layer, column) for layer in found] == [getattr(layer, column) for layer in expected], column
    assert len(run.gathered.notes) == (name == "nllb_moe")


@EVERY
def test_ids_and_weights_are_those_that_the_experts_received(name: str) -> None:
    run = observed(name)
    for layer in run.gathered.model.layers:
        seen = next(seen for seen in run.seen if seen.path == layer.experts_path)
        rows = run.rows(seen.path)
        for turn in range(2):
            routes = run.gathered.routes(layer.place, turn)
            np.testing.assert_array_equal(routes.experts[rows], seen.ids)
            np.testing.assert_allclose(routes.weights[rows], flat(seen.weights), rtol=0 if not layer.adapter else 1e-5)
            assert (routes.experts[~rows] == -1).all()
            assert (routes.flags[~rows] == RouteFlag.ABSENT).all()
            counts = torch.bincount(seen.ids[seen.ids >= 0], minlength=layer.experts)
            np.testing.assert_array_equal(routes.counts, counts)
            assert not routes.flags[rows][(seen.ids >= 0).all(-1)].any()


@EVERY
def test_the_model_runs_as_without_hooks(name: str) -> None:
    run = observed(name)
    assert torch.equal(run.outputs[0], run.output)
    assert torch.equal(run.outputs[1], run.output)


@EVERY
def test_logits_are_the_models_own(name: str) -> None:
    run = observed(name)
    expected = [layer.own_logits for layer in run.family.layers]
    if run.own_logits is None:
        assert not any(expected)
        return
    assert len(run.own_logits) == sum(expected)
    layers = [layer for layer, own in zip(run.gathered.model.layers, expected, strict=True) if own]
    for layer, own in zip(layers, run.own_logits, strict=True):
        rows = run.rows(layer.experts_path)
        for turn in range(2):
            captured = run.gathered.routes(layer.place, turn).logits[rows]
            np.testing.assert_allclose(captured, own.float().numpy(), rtol=1e-5, atol=1e-6)


@EVERY
def test_the_experts_output_is_rebuilt_from_captured_ids_and_weights(name: str) -> None:
    """Every slot alone through the model's own experts, with weight one, times the captured weight."""
    run = observed(name)
    for layer in run.gathered.model.layers:
        seen = next(seen for seen in run.seen if seen.path == layer.experts_path)
        routes = run.gathered.routes(layer.place, 1)
        rows = run.rows(seen.path)
        ids, weights = torch.tensor(routes.experts[rows]).long(), torch.tensor(routes.weights[rows])
        rebuilt = torch.zeros_like(seen.output) if seen.linear else seen.run(ids, weights)
        for slot in range(layer.top_k if seen.linear else 0):
            alone = torch.zeros_like(weights)
            alone[:, slot] = 1
            rebuilt += weights[:, slot : slot + 1] * seen.run(ids, alone)
        torch.testing.assert_close(rebuilt, seen.output, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["llama4", "doge", "nllb_moe", "vitpose_backbone"])
def test_adapters_run_single_experts(name: str) -> None:
    run = observed(name)
    adapters = {adapter.name: adapter for adapter in built_in()}
    for layer in run.gathered.model.layers:
        seen = next(seen for seen in run.seen if seen.path == layer.experts_path)
        block, run_expert = run.model.get_submodule(layer.path), adapters[layer.adapter].run_expert
        assert run_expert is not None
        for expert in (0, layer.experts - 1):
            ids = torch.full((len(seen.ids), 1), expert)
            with torch.no_grad():
                torch.testing.assert_close(run_expert(block, expert, seen.rows), seen.run(ids, torch.ones(ids.shape)))


def test_llama4s_routing_can_be_changed_on_its_way() -> None:
    """What is read from the scores and written again are the scores; a dropped slot has none."""
    adapter = next(adapter for adapter in built_in() if adapter.name == "llama4")
    assert adapter.read is not None
    assert adapter.write is not None
    router = observed("llama4").model.get_submodule("model.layers.0.feed_forward.router")
    with torch.no_grad():
        scores, logits = output = router(torch.randn(5, 32, generator=torch.Generator().manual_seed(7)))
    routing = adapter.read(router, (), {}, output)
    again, same = adapter.write(router, (), {}, output, routing)
    assert torch.equal(again, scores)
    assert same is logits
    routing.ids[2, 0] = -1
    dropped, _ = adapter.write(router, (), {}, output, routing)
    assert (dropped[2] != 0).sum() == 1


@EVERY
def test_the_score_chooses_what_was_chosen(name: str) -> None:
    """The published rule, written again here, on the captured logits."""
    run = observed(name)
    for layer in run.gathered.model.layers:
        routes = run.gathered.routes(layer.place, 1)
        if layer.selection != "token choice" or layer.score == "unknown":
            assert np.isnan(routes.margin).all()
            continue
        block = run.model.get_submodule(layer.path)
        kept = (routes.experts >= 0).all(1)
        scores, chosen = published_choice(layer, routes.logits[kept], block)
        np.testing.assert_array_equal(np.sort(routes.experts[kept]), np.sort(chosen))
        if layer.top_k == layer.experts:  # nothing else could be chosen
            assert np.isnan(routes.margin).all()
            continue
        best = -np.sort(-scores, axis=1)
        margin = best[:, layer.top_k - 1] - best[:, layer.top_k]
        np.testing.assert_allclose(routes.margin[kept], margin, rtol=1e-3, atol=1e-5)


@EVERY
def test_the_factor_behind_the_experts_is_what_doubling_them_adds(name: str) -> None:
    run = observed(name)
    for layer, expected in zip(run.gathered.model.layers, run.family.layers, strict=True):
        np.testing.assert_equal(layer.post_scale, expected.post_scale)
        seen = next(seen for seen in run.seen if seen.path == layer.experts_path)
        if seen.module is None:
            continue
        before = run.block_output(layer.path)
        with doubled(seen.module):
            after = run.block_output(layer.path)
        added = (after - before).reshape(len(seen.ids), -1)
        if np.isnan(layer.post_scale):
            assert added.norm() > 0
            if added.shape == seen.output.shape:
                factor = (added * seen.output).sum() / (seen.output**2).sum()
                assert (added - factor * seen.output).norm() > 0.1 * added.norm()
        else:
            added = added[:, -seen.output.shape[1] :]  # the experts' output may be a part of the block's
            torch.testing.assert_close(added, layer.post_scale * seen.output, rtol=1e-3, atol=1e-4)


@EVERY
def test_a_row_is_its_token(name: str) -> None:
    """Nothing comes after the last token of a sequence, so in a causal model a change of it changes its own row only."""
    run = observed(name)
    image = getattr(run.model.config, "image_token_id", None)
    for stream in run.gathered.model.streams:
        rows = run.gathered.batches[0].tokens[stream]
        if stream == "vision":
            assert (rows["kind"] == TokenKind.IMAGE).all()
            continue
        given = {"encoder": "input_ids", "decoder": "decoder_input_ids"}.get(stream, "input_ids")
        if given in run.arguments:
            np.testing.assert_array_equal(rows["token_id"], run.arguments[given].flatten())
            np.testing.assert_array_equal(rows["kind"] == TokenKind.IMAGE, rows["token_id"] == image)
        np.testing.assert_array_equal(rows["sequence"], np.repeat(np.arange(2), len(rows) // 2))
    for layer in run.gathered.model.layers:
        one, two = run.gathered.routes(layer.place, 1), run.gathered.routes(layer.place, 2)
        if one.logits is None:
            continue
        if layer.stream == "vision":  # the pictures are the same
            np.testing.assert_array_equal(one.logits, two.logits)
            continue
        same = np.isclose(one.logits, two.logits, rtol=1e-3, atol=1e-4, equal_nan=True)
        changed = np.flatnonzero(~same.all(1))
        last = len(same) // 2 - 1
        reached = {"token": [last], "sequence": range(last + 1), "batch": range(len(same))}[run.family.reach]
        assert changed.size or not run.rows(layer.experts_path)[last]
        assert set(changed.tolist()) <= set(reached), layer.path
