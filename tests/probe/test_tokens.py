"""Which token each row is: sequences, positions, padding, phases, over every way to call a model."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from moedesk.core.columns import PassFlag, Phase
from tests.support.families import build, some_ids
from tests.support.gathered import dense, gather


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_sequence_routes_as_it_does_alone_and_padding_is_not_counted(olmoe: nn.Module, side: str) -> None:
    short, long = some_ids(1, 5, seed=4), some_ids(1, 9, seed=5)
    padding = torch.zeros(1, 4, dtype=torch.long)
    parts = [padding, short] if side == "left" else [short, padding]
    batch = torch.cat([torch.cat(parts, dim=1), long])
    mask = (batch != 0).long()
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    together, padded = gather(olmoe)
    with torch.no_grad(), together:
        olmoe(batch, attention_mask=mask, position_ids=positions)
    rows = padded.tokens()
    kept = ~rows["is_padding"]
    np.testing.assert_array_equal(kept.reshape(2, 9), mask.bool().numpy())
    np.testing.assert_array_equal(rows["position"].reshape(2, 9), positions.numpy())
    np.testing.assert_array_equal(rows["column"].reshape(2, 9), [range(9)] * 2)
    np.testing.assert_array_equal(rows["token_id"][kept & (rows["sequence"] == 0)], short[0].numpy())
    assert (padded.batches[0].header["n_seen"], padded.batches[0].header["n_padding"]) == (18, 4)
    for sequence, ids in enumerate((short, long)):
        alone, single = gather(olmoe)
        with torch.no_grad(), alone:
            olmoe(ids)
        mine = kept & (rows["sequence"] == sequence)
        for layer in range(2):
            one, routes = single.routes(layer), padded.routes(layer)
            np.testing.assert_allclose(
                dense(routes.experts[mine], routes.weights[mine], 8), dense(one.experts, one.weights, 8), rtol=1e-4
            )
    for layer in range(2):
        routes = padded.routes(layer)
        assert len(routes.experts) == 18, "padding is stored"
        np.testing.assert_array_equal(routes.counts, np.bincount(routes.experts[kept].ravel(), minlength=8))


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_generate_with_a_cache_routes_like_one_full_forward(olmoe: nn.Module, cache: str) -> None:
    prompt = some_ids(2, 6)
    prompt[0, :2] = 0
    mask = (prompt != 0).long()
    recording, steps = gather(olmoe)
    options = {"cache_implementation": "static"} if cache == "static" else {}
    with torch.no_grad(), recording:
        text = olmoe.generate(
            prompt, attention_mask=mask, max_new_tokens=4, min_new_tokens=4, do_sample=False, **options
        )
    assert steps.phases == [Phase.PREFILL, Phase.DECODE, Phase.DECODE, Phase.DECODE]
    assert [int(batch.header["past"]) for batch in steps.batches] == [0, 6, 7, 8]
    rows = steps.tokens()
    np.testing.assert_array_equal(rows["sequence"], [0] * 6 + [1] * 6 + [0, 1] * 3)
    full_mask = torch.cat([mask, torch.ones(2, 3, dtype=torch.long)], dim=1)
    whole, full = gather(olmoe)
    with torch.no_grad(), whole:
        olmoe(text[:, :9], attention_mask=full_mask, position_ids=(full_mask.cumsum(-1) - 1).clamp(min=0))
    reference = full.tokens()
    order, wanted = (np.lexsort((tokens["column"], tokens["sequence"])) for tokens in (rows, reference))
    for name in ("sequence", "column", "token_id", "is_padding"):
        np.testing.assert_array_equal(rows[name][order], reference[name][wanted], err_msg=name)
    real = ~reference["is_padding"][wanted]
    np.testing.assert_array_equal(rows["position"][order][real], reference["position"][wanted][real])
    for layer in range(2):
        got = dense(steps.column("experts", layer), steps.column("weights", layer), 8)[order]
        expected = dense(full.column("experts", layer), full.column("weights", layer), 8)[wanted]
        np.testing.assert_allclose(got[real], expected[real], rtol=1e-4)
        assert steps.counts(layer).sum() == real.sum() * 2


def test_a_decoding_loop_by_hand_continues_its_sequences(olmoe: nn.Module) -> None:
    recording, gathered = gather(olmoe)
    with torch.no_grad(), recording:
        first = olmoe(some_ids(2, 4))
        olmoe(some_ids(2, 1), past_key_values=first.past_key_values)
        olmoe(some_ids(3, 4))
    rows = gathered.tokens()
    np.testing.assert_array_equal(rows["sequence"], [0] * 4 + [1] * 4 + [0, 1] + [2] * 4 + [3] * 4 + [4] * 4)
    np.testing.assert_array_equal(rows["column"][8:10], [4, 4])
    assert gathered.phases == [Phase.PREFILL, Phase.DECODE, Phase.PREFILL]


def test_beams_are_rows_as_the_model_ran_them(olmoe: nn.Module) -> None:
    recording, gathered = gather(olmoe)
    with torch.no_grad(), recording:
        olmoe.generate(some_ids(1, 4), num_beams=3, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert [len(batch.tokens["main"]) for batch in gathered.batches] == [12, 3, 3]
    np.testing.assert_array_equal(gathered.tokens()["sequence"][12:], [0, 1, 2, 0, 1, 2])


def test_embeddings_have_no_ids(olmoe: nn.Module) -> None:
    recording, gathered = gather(olmoe)
    with torch.no_grad(), recording:
        olmoe(inputs_embeds=olmoe.get_input_embeddings()(some_ids(1, 5)))
    rows = gathered.tokens()
    assert (rows["token_id"] == -1).all()
    np.testing.assert_array_equal(rows["position"], range(5))
    assert PassFlag(int(gathered.batches[0].header["flags"])) & PassFlag.TOKENS_UNKNOWN


def test_the_base_model_alone_is_a_pass_too(olmoe: nn.Module) -> None:
    recording, gathered = gather(olmoe)
    with torch.no_grad(), recording:
        olmoe.model(some_ids(1, 5))
    np.testing.assert_array_equal(gathered.tokens()["token_id"], some_ids(1, 5)[0])


@pytest.mark.parametrize(
    ("inputs", "phase"),
    [
        ({"use_cache": False}, Phase.EVAL),
        ({"use_cache": True}, Phase.PREFILL),
        ({"labels": some_ids()}, Phase.EVAL),
    ],
)
def test_phases_of_a_plain_forward(olmoe: nn.Module, inputs: dict[str, Any], phase: Phase) -> None:
    recording, gathered = gather(olmoe)
    with torch.no_grad(), recording:
        olmoe(some_ids(), **inputs)
    assert gathered.phases == [phase]


def test_times_are_wall_clock_and_grow(olmoe: nn.Module) -> None:
    import time

    before = time.time_ns()
    recording, gathered = gather(olmoe)
    with torch.no_grad(), recording:
        olmoe(some_ids())
        olmoe(some_ids())
    one, two = (batch.header for batch in gathered.batches)
    assert before <= one["t0_ns"] < one["t1_ns"] <= two["t0_ns"] + 10_000_000
    assert two["t1_ns"] <= time.time_ns() + 10_000_000


class TestSwitch:
    """Encoder and decoder are two streams; tokens beyond an expert's capacity are dropped."""

    def test_ids_and_drops_by_the_published_rule(self, family: Any) -> None:
        model = family("switch_transformers")
        recording, gathered = gather(model, logits=True)
        source, target = some_ids(2, 9), some_ids(2, 5, seed=8)
        with torch.no_grad(), recording:
            for _ in range(2):
                out = model(source, decoder_input_ids=target, output_router_logits=True)
        assert gathered.model.streams == ("decoder", "encoder")
        own = {
            "encoder": [x for x in out.encoder_router_logits if isinstance(x, torch.Tensor) and x.ndim == 3],
            "decoder": [x for x in out.decoder_router_logits if isinstance(x, torch.Tensor) and x.ndim == 3],
        }
        drops = 0
        for layer in gathered.model.layers:
            logits = own[layer.stream].pop(0) if len(own[layer.stream]) else None
            assert logits is not None
            share, ids = logits.float().softmax(-1).max(-1)
            taken = torch.nn.functional.one_hot(ids, 4)
            dropped = ((taken.cumsum(1) > 3) & taken.bool()).any(-1)  # expert_capacity=3, in each sequence
            expected = torch.where(dropped, -1, ids).reshape(-1, 1).numpy()
            for turn in range(2):
                routes = gathered.routes(layer.place, turn)
                np.testing.assert_array_equal(routes.experts, expected)
                np.testing.assert_allclose(routes.weights, torch.where(dropped, 0, share).reshape(-1, 1), rtol=1e-5)
                np.testing.assert_array_equal(routes.flags, dropped.reshape(-1).numpy())
                np.testing.assert_array_equal(routes.counts, np.bincount(expected[expected >= 0], minlength=4))
                assert np.isnan(routes.margin[dropped.reshape(-1).numpy()]).all()
            drops += int(dropped.sum())
        assert drops > 0

    def test_generate_runs_the_encoder_alone_and_the_decoder_continues_its_sequences(self, family: Any) -> None:
        model = family("switch_transformers")
        recording, gathered = gather(model)
        source = some_ids(2, 6)
        with torch.no_grad(), recording:
            model.generate(source, max_new_tokens=3, min_new_tokens=3, do_sample=False)
        assert gathered.phases == [Phase.PREFILL, Phase.PREFILL, Phase.DECODE, Phase.DECODE]
        assert [list(batch.tokens) for batch in gathered.batches] == [["encoder"], *[["decoder"]] * 3]
        np.testing.assert_array_equal(gathered.tokens("encoder")["token_id"], source.reshape(-1))
        np.testing.assert_array_equal(gathered.tokens("encoder")["sequence"], [0] * 6 + [1] * 6)
        np.testing.assert_array_equal(gathered.tokens("decoder")["sequence"], [0, 1] * 3)
        np.testing.assert_array_equal(gathered.tokens("decoder")["column"], [0, 0, 1, 1, 2, 2])
        places = [layer.place for layer in gathered.model.layers]
        assert places == list(range(len(places))), "layers found later come after those known"


def test_image_tokens_are_marked() -> None:
    model = build("mixtral")
    model.config.image_token_id = 7
    ids = some_ids()
    ids[0, 2:4] = 7
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        model(ids)
    np.testing.assert_array_equal(gathered.tokens()["kind"], (ids.reshape(-1) == 7).numpy())
