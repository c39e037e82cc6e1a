"""``moe``: what it runs is what ``model.generate`` gives, what it counts is what the model's own router says."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from moedesk.core.errors import MoedeskError, NoMoELayersError
from moedesk.probe.attach import attach
from moedesk.probe.console.loaded import Loaded
from moedesk.probe.console.moe import Moe
from tests.support.console import Letters, own_moe
from tests.support.until import PATIENCE

PROMPT = "def add(a, b):"


@pytest.fixture
def moe(sample: tuple[Any, Any]) -> Iterator[Moe]:
    """With the sample model attached."""
    with own_moe() as moe:
        moe.attach(*sample)
        yield moe


def generated(model: Any, tokenizer: Any, texts: list[str], **options: Any) -> np.ndarray:
    """What the model itself generates, padded by the tokenizer; new tokens only."""
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        return model.generate(**inputs, **options)[:, inputs.input_ids.shape[1] :].numpy()


def test_a_run_is_what_the_model_generates(moe: Moe) -> None:
    expected = generated(moe.model, moe.tokenizer, [PROMPT], max_new_tokens=12, do_sample=False)[0]
    run = moe.run(PROMPT, max_new_tokens=12)
    np.testing.assert_array_equal(run.new_ids[0], expected)
    assert run.text == moe.tokenizer.decode(expected)
    assert (run.prompt, run.passes, run.new_tokens) == (PROMPT, 12, 12)
    np.testing.assert_array_equal(run.token_ids[0][:-12], moe.tokenizer(PROMPT).input_ids)
    assert run.tokens_per_second == pytest.approx(12 / run.seconds)


def test_a_padded_batch_is_what_the_model_generates(moe: Moe) -> None:
    texts = ["Der Hund", "In the beginning God created the heaven and", "x"]
    expected = generated(moe.model, moe.tokenizer, texts, max_new_tokens=8, do_sample=False)
    run = moe.run(texts, max_new_tokens=8)
    np.testing.assert_array_equal(np.stack(run.new_ids), expected)
    assert run.prompts == tuple(texts)
    assert [len(ids) for ids in run.prompt_ids] == [len(moe.tokenizer(text).input_ids) for text in texts]


def test_a_row_ends_at_its_end_of_sequence_token(moe: Moe) -> None:
    texts = [PROMPT, "Der Hund"]
    rows = generated(moe.model, moe.tokenizer, texts, max_new_tokens=12, do_sample=False)
    end = int(next(token for token in rows[0] if token not in rows[1]))
    run = moe.run(texts, 12, eos_token_id=end)
    np.testing.assert_array_equal(run.new_ids[0], rows[0][: list(rows[0]).index(end) + 1])
    np.testing.assert_array_equal(run.new_ids[1], rows[1])


def test_options_of_generate_are_passed_on(moe: Moe) -> None:
    run = moe.run(PROMPT, 4, num_beams=3, num_return_sequences=3, return_dict_in_generate=True)
    expected = generated(moe.model, moe.tokenizer, [PROMPT], max_new_tokens=4, num_beams=3, num_return_sequences=3)
    np.testing.assert_array_equal(np.stack(run.new_ids), expected)
    assert run.prompts == (PROMPT,) * 3


def test_counts_are_those_of_the_models_own_router(moe: Moe) -> None:
    expected = np.zeros((6, 16), np.int64)
    for text in (PROMPT, "Der Hund bellt"):
        ids = torch.tensor([moe.tokenizer(text).input_ids])
        with torch.no_grad():
            out = moe.model(ids, output_router_logits=True)
        for layer, logits in enumerate(out.router_logits):
            expected[layer] += np.bincount(logits.softmax(-1).topk(2).indices.reshape(-1), minlength=16)
    assert moe._tally.wait(2, 10)
    np.testing.assert_array_equal(np.stack([moe.counts[layer] for layer in range(6)]), expected)


def test_the_picture_of_a_run_is_of_this_run(moe: Moe) -> None:
    first = moe.run(PROMPT, 6)
    other = moe.run("Es war einmal ein König, der hatte eine Tochter", 6)
    again = moe.run(PROMPT, 6)
    assert first.picture is not None
    assert first.picture.png == again.picture.png != other.picture.png


def test_counts_that_are_late_give_no_picture_rather_than_a_wrong_one(
    moe: Moe, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = threading.Event()
    monkeypatch.setattr(moe._tally._sink, "append", lambda batch: taken.wait(PATIENCE))
    monkeypatch.setattr("moedesk.probe.console.moe.ARRIVAL_SECONDS", 0.05)
    run = moe.run(PROMPT, 6)
    taken.set()
    assert (run.passes, run.picture) == (6, None)


def test_nothing_is_left_on_the_model(sample: tuple[Any, Any], capsys: pytest.CaptureFixture[str]) -> None:
    model, tokenizer = sample

    def hooks() -> int:
        return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules())

    model(torch.tensor([[3]]), output_router_logits=True)  # transformers adds hooks of its own, for good
    before = hooks()
    with own_moe() as moe:
        moe.attach(model, tokenizer)
        moe.run(PROMPT, 2)
        assert hooks() > before
        moe.detach()
        assert "detached after 2 passes" in capsys.readouterr().out
        assert hooks() == before
        moe.detach()
        assert capsys.readouterr().out == "nothing is attached\n"


def test_pause_and_resume(moe: Moe) -> None:
    moe.run(PROMPT, 2)
    moe.pause()
    paused = moe.run(PROMPT, 2)
    assert (paused.passes, paused.picture) == (0, None)
    assert moe.status().title == "tinymoe: paused; moe.resume() goes on"
    moe.resume()
    assert moe.run(PROMPT, 2).passes == 2
    assert moe.status().counters.passes == 4


def test_without_attaching_it_runs_and_says_that_nothing_was_recorded(sample: tuple[Any, Any]) -> None:
    with own_moe() as moe:
        moe._loaded = Loaded(*sample)
        run = moe.run(PROMPT, 3)
        assert (run.passes, run.picture, run.new_tokens) == (0, None, 3)
        assert run.summary.endswith("not recorded")


def test_a_model_that_cannot_generate_runs_one_forward(olmoe: Any) -> None:
    with own_moe() as moe:
        moe.attach(olmoe.model, Letters())
        run = moe.run(["abc", "defgh"])
        assert (run.passes, run.new_tokens, run.texts) == (1, 0, ("", ""))
        assert "8 tokens in 2 rows forward" in run.summary
        assert sum(moe.counts[0]) == 2 * 8  # padding isn't counted


def test_a_model_with_encoder_and_decoder(family: Any) -> None:
    model, letters = family("switch_transformers"), Letters()
    ids = torch.tensor([letters("hello").input_ids])
    expected = model.generate(ids, max_new_tokens=5, do_sample=False)[0, 1:].numpy()
    with own_moe() as moe:
        moe.attach(model, letters)
        run = moe.run("hello", 5)
    np.testing.assert_array_equal(run.new_ids[0], expected[: len(run.new_ids[0])])
    assert len(run.new_ids[0]) == 5 or run.new_ids[0][-1] == 2
    np.testing.assert_array_equal(run.prompt_ids[0], ids[0])


def test_chat(olmoe: Any) -> None:
    with own_moe() as moe:
        moe.attach(olmoe, Letters())
        run = moe.run("hi", 2, chat=True)
        assert len(run.prompt_ids[0]) == len("Qhi A")
        assert run.prompt == "hi"


def test_no_chat_template(moe: Moe) -> None:
    with pytest.raises(MoedeskError, match="no chat template; leave chat=True out"):
        moe.run("hi", chat=True)


@pytest.mark.parametrize("text", ["", [], ["a", ""], [1], 3])
def test_what_cannot_be_run(moe: Moe, text: Any) -> None:
    with pytest.raises(MoedeskError) as caught:
        moe.run(text)
    assert "\n" not in str(caught.value)


def test_without_a_model_it_says_what_to_type(olmoe: Any) -> None:
    with own_moe() as moe:
        for call in (moe.attach, lambda: moe.run("x")):
            with pytest.raises(MoedeskError, match=r'moe\.load\("sample"\), then moe\.attach\(\)'):
                call()
        with pytest.raises(MoedeskError, match=r"moe\.attach\(\) comes first"):
            moe.pause()
        assert 'moe.load("sample")' in repr(moe)
        moe.attach(olmoe)
        with pytest.raises(MoedeskError, match=r"needs a tokenizer: moe\.attach\(model, tokenizer\)"):
            moe.run("x")


def test_a_model_without_experts_leaves_the_attached_one_attached(moe: Moe) -> None:
    with pytest.raises(NoMoELayersError):
        moe.attach(torch.nn.Linear(2, 2))
    assert moe.run(PROMPT, 2).passes == 2


def test_attaching_anew_takes_the_place_of_the_first(moe: Moe, olmoe: Any) -> None:
    before = moe.model
    moe.attach(olmoe)
    assert not before.model._forward_pre_hooks
    assert moe.model is olmoe
    moe.attach(olmoe, every=2)
    handle = attach(before, sink=moe._tally)
    moe.attach(before)
    assert not handle.attached


def test_load_puts_names_where_none_are(capsys: pytest.CaptureFixture[str]) -> None:
    mine = object()
    names: dict[str, Any] = {"tokenizer": mine}
    with own_moe(names) as moe:
        model, tokenizer = moe.load("sample")
        said = capsys.readouterr().out
        assert names == {"model": model, "tokenizer": mine}
        assert said.startswith("loaded sample · ")
        assert repr(moe._loaded) == "OlmoeForCausalLM · 5,061,760 parameters · float32 · its tokenizer"
        assert "tokenizer is a variable of yours and stays as it is" in said
        del names["tokenizer"]
        again, tokenizer = moe.load("sample")
        assert names == {"model": again, "tokenizer": tokenizer}
        assert again is not model
        moe.attach()
        assert (moe.model, moe.tokenizer) == (again, tokenizer)


def test_status_says_what_was_left_out_and_what_hooks_cost(moe: Moe) -> None:
    moe.run(PROMPT, 3)
    status = moe.status()
    rows = dict(status.rows)
    assert rows["layers"] == "6 layers × 16 experts, top-2"
    assert rows["passes"] == "3"
    counters = moe.attachment.counters
    assert rows["hooks"].startswith(f"{counters.hook_ns / 3 / 6 / 1000:.1f} µs a layer and pass")
    assert rows["apps"].startswith("no app connected")
    assert rows["dropped"].startswith("3 passes not sent")  # there is no app
    assert all(text in repr(moe) for text in rows.values())
    assert all(name in moe._repr_html_() for name in rows)
