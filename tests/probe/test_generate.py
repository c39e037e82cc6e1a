"""Every way to generate: a text's rows route as in one full forward of it, and drafts that were rejected are known."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from moedesk.analysis.drafts import rejected_drafts
from moedesk.core.columns import PassFlag, Phase
from tests.support.families import build, some_ids
from tests.support.gathered import Gathered, dense, gather

PROMPT = some_ids(1, 5).repeat(1, 4)
"""Repeats itself, so that looking up drafts in it finds some."""


def generate(model: nn.Module, **options: Any) -> tuple[torch.Tensor, Gathered]:
    recording, gathered = gather(model)
    given = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False, **options}
    with torch.no_grad(), recording:
        text = model.generate(PROMPT, attention_mask=torch.ones_like(PROMPT), **given)
    return text, gathered


def token_rows(gathered: Gathered) -> np.ndarray:
    """Rows of all passes, with the place of their pass as a reader gives it."""
    parts = []
    for number, batch in enumerate(gathered.batches):
        rows = batch.tokens["main"].copy()
        rows["pass"] = number
        parts.append(rows)
    return np.concatenate(parts)


def headers(gathered: Gathered) -> np.ndarray:
    return np.array([batch.header for batch in gathered.batches])


def assert_routes_like_a_full_forward(
    model: nn.Module, ids: torch.Tensor, gathered: Gathered, kept: np.ndarray
) -> None:
    """Rows ``kept`` are those of ``ids``, one a column, and route as in one forward."""
    rows = token_rows(gathered)
    order = np.flatnonzero(kept)[np.argsort(rows["column"][kept])]
    np.testing.assert_array_equal(rows["column"][order], np.arange(ids.shape[1]))
    np.testing.assert_array_equal(rows["token_id"][order], ids[0].numpy())
    recording, whole = gather(model)
    with torch.no_grad(), recording:
        model(ids)
    for layer in range(len(whole.model.layers)):
        got = dense(gathered.column("experts", layer), gathered.column("weights", layer), 8)[order]
        routes = whole.routes(layer)
        np.testing.assert_allclose(got, dense(routes.experts, routes.weights, 8), rtol=1e-4)


@pytest.mark.parametrize("how", ["prompt lookup", "assistant"])
def test_rejected_drafts_are_told_from_the_text(olmoe: nn.Module, how: str) -> None:
    assistant = build("olmoe", num_hidden_layers=1)
    options = {"prompt_lookup_num_tokens": 3} if how == "prompt lookup" else {"assistant_model": assistant}
    text, gathered = generate(olmoe, **options)
    passes, rows = headers(gathered), token_rows(gathered)
    assert (passes["flags"] & PassFlag.REWOUND).any(), "some drafts were rejected"
    assert len(np.unique(rows["sequence"])) == 1
    last = text.shape[1] - 1
    rejected = rejected_drafts(passes, rows)
    # The text alone says it too: of each of its columns, the row that ran last is the one that counts.
    in_text = rows["column"] < last
    by_column = {int(row["column"]): place for place, row in enumerate(rows)}
    expected = sorted(place for column, place in by_column.items() if column < last)
    np.testing.assert_array_equal(np.flatnonzero(~rejected & in_text), expected)
    assert_routes_like_a_full_forward(olmoe, text[:, :last], gathered, ~rejected & in_text)


def test_an_assistant_is_a_model_of_its_own(olmoe: nn.Module) -> None:
    assistant = build("olmoe", num_hidden_layers=1)
    theirs, drafted = gather(assistant)
    with theirs:
        _, gathered = generate(olmoe, assistant_model=assistant)
    assert {len(batch.layers) for batch in gathered.batches} == {2}
    assert {len(batch.layers) for batch in drafted.batches} == {1}
    assert not gathered.notes


@pytest.mark.parametrize(
    "options",
    [{}, {"cache_implementation": "static"}, {"prefill_chunk_size": 4}],
    ids=["dynamic", "static", "chunked prefill"],
)
def test_every_cache_gives_the_routing_of_one_forward(olmoe: nn.Module, options: dict[str, Any]) -> None:
    text, gathered = generate(olmoe, **options)
    assert not (headers(gathered)["flags"]).any()
    rows = token_rows(gathered)
    assert_routes_like_a_full_forward(olmoe, text[:, :-1], gathered, np.ones(len(rows), bool))
    assert gathered.phases[-7:] == [Phase.DECODE] * 7


def test_without_a_cache_each_step_is_a_text_of_its_own(olmoe: nn.Module) -> None:
    text, gathered = generate(olmoe, use_cache=False, max_new_tokens=3, min_new_tokens=3)
    lengths = [20, 21, 22]
    rows = token_rows(gathered)
    np.testing.assert_array_equal(rows["sequence"], np.repeat(range(3), lengths))
    np.testing.assert_array_equal(rows["token_id"], torch.cat([text[0, :n] for n in lengths]).numpy())


def test_guidance_runs_two_texts_in_turns(olmoe: nn.Module) -> None:
    text, gathered = generate(olmoe, guidance_scale=1.5)
    rows = token_rows(gathered)
    assert_routes_like_a_full_forward(olmoe, text[:, :-1], gathered, rows["sequence"] == 0)
    other = rows[rows["sequence"] == 1]
    np.testing.assert_array_equal(other["token_id"], text[0, -9:-1].numpy())


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"num_return_sequences": 3, "do_sample": True}])
def test_beams_and_samples_are_rows_of_the_batch(olmoe: nn.Module, options: dict[str, Any]) -> None:
    _, gathered = generate(olmoe, **options)
    rows = token_rows(gathered)
    for batch, header in zip(gathered.batches, headers(gathered), strict=True):
        assert header["batch"] == 3
        assert sorted(set(batch.tokens["main"]["sequence"])) == [0, 1, 2]
    assert np.bincount(rows["sequence"]).tolist() == [27] * 3
    assert not headers(gathered)["flags"].any()


def test_early_exit_drafts_with_the_first_layers(olmoe: nn.Module) -> None:
    text, gathered = generate(olmoe, assistant_early_exit=1)
    passes, rows = headers(gathered), token_rows(gathered)
    ran = np.array([len(batch.layers) for batch in gathered.batches])
    assert set(ran) == {1, 2}
    drafts, verified = (set(rows["sequence"][np.isin(rows["pass"], np.flatnonzero(ran == n))]) for n in (1, 2))
    assert drafts.isdisjoint(verified)
    last = text.shape[1] - 1
    kept = ~rejected_drafts(passes, rows) & np.isin(rows["sequence"], list(verified)) & (rows["column"] < last)
    np.testing.assert_array_equal(rows["token_id"][kept], text[0, :last].numpy())
