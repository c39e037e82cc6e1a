"""Models without experts, tokenizers that don't fit, files that can't be written: one clear line, nothing lost."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

import moedesk
from moedesk.core.errors import CaptureError, CaptureWarning, MoedeskError, NoMoELayersError
from tests.support.families import build, some_ids
from tests.support.gathered import gather


def dense_model(kind: str) -> nn.Module:
    small = {
        "vocab_size": 101,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
    }
    if kind == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**small, num_key_value_heads=4))
    if kind == "bert":
        return transformers.BertModel(transformers.BertConfig(**small))
    if kind == "gpt2":
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=101, n_embd=32, n_layer=2, n_head=4))
    if kind == "t5":
        sizes = {"vocab_size": 101, "d_model": 32, "d_ff": 48, "d_kv": 8, "num_heads": 4, "num_layers": 2}
        return transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes))
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 48), 2, enable_nested_tensor=False)


@pytest.mark.parametrize("kind", ["llama", "bert", "gpt2", "t5", "torch"])
def test_a_model_without_experts_is_refused_and_no_file_is_made(kind: str, tmp_path: Path) -> None:
    model = dense_model(kind)
    with (
        pytest.raises(NoMoELayersError, match=f"{type(model).__name__} has no Mixture-of-Experts layer") as caught,
        moedesk.record(model, tmp_path / "x.h5"),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_is_no_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MoedeskError, match=r"torch\.nn\.Module.*not dict"), moedesk.record({}, tmp_path / "x.h5"):  # type: ignore[arg-type]
        pass


class Unused(nn.Module):
    """Holds experts that its forward never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = build("mixtral").model.layers[0].mlp.experts
        self.head = nn.Linear(4, 4)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.head(hidden)


def test_experts_that_never_run_are_said_at_the_end() -> None:
    recording, gathered = gather(Unused())
    unseen = pytest.warns(CaptureWarning, match="experts: not called in a whole pass")
    with unseen, pytest.warns(CaptureWarning, match="Unused ran no MoE layer"), recording:
        recording.module(torch.zeros(2, 4))
    assert any("nothing was recorded" in note for note in gathered.notes)
    assert gathered.models, "the file still says what the model was"


def test_a_path_that_cannot_be_written_leaves_the_model_alone(olmoe: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(CaptureError), moedesk.record(olmoe, tmp_path / "no" / "folder" / "x.h5"):
        pass
    assert not any(module._forward_pre_hooks for module in olmoe.modules())


class Smaller:
    """The sample's tokenizer, cut to its first 20 ids."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.all_special_ids = tokenizer.all_special_ids

    def __len__(self) -> int:
        return 20

    def convert_ids_to_tokens(self, token_id: int) -> str:
        return self._tokenizer.convert_ids_to_tokens(token_id)


def test_a_tokenizer_that_does_not_fit_is_said_once_and_all_else_is_kept(
    olmoe: nn.Module, sample: tuple[nn.Module, Any], tmp_path: Path
) -> None:
    ids = torch.tensor([[5, 6, 90, 91]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with torch.no_grad(), moedesk.record(olmoe, tmp_path / "x.h5", tokenizer=Smaller(sample[1])):
            olmoe(ids)
            olmoe(ids + 2)
    said = [str(warning.message) for warning in caught if issubclass(warning.category, CaptureWarning)]
    assert len(said) == 1
    assert "vocabulary of 20" in said[0]
    with moedesk.open(tmp_path / "x.h5") as capture:
        assert capture.token_text([5, 90]) == [sample[1].decode([5]), "⟨90⟩"]
        np.testing.assert_array_equal(capture.tokens["token_id"], [5, 6, 90, 91, 7, 8, 92, 93])


def test_what_is_no_tokenizer_is_said(olmoe: nn.Module, tmp_path: Path) -> None:
    recording = moedesk.record(olmoe, tmp_path / "x.h5", tokenizer="gpt2")
    with pytest.warns(CaptureWarning, match="str, not a transformers tokenizer"), torch.no_grad(), recording:
        olmoe(some_ids())
    assert recording.passes == 1


def test_a_sink_that_breaks_does_not_stop_the_model(olmoe: nn.Module) -> None:
    recording, gathered = gather(olmoe)

    def refuse(batch: Any) -> None:
        raise RuntimeError("no more")

    gathered.append = refuse  # type: ignore[method-assign]

    def body() -> None:
        with torch.no_grad(), recording:
            for _ in range(3):
                olmoe(some_ids())

    with pytest.warns(CaptureWarning, match="no more"):
        body()
    assert gathered.closed
    assert any("no more" in note for note in gathered.notes)


def test_a_sink_that_stopped_is_said(olmoe: nn.Module) -> None:
    recording, gathered = gather(olmoe)

    def body() -> None:
        with torch.no_grad(), recording:
            olmoe(some_ids())
            gathered.stopped = "the disk is full"
            olmoe(some_ids())

    with pytest.warns(CaptureWarning, match="the disk is full"):
        body()


def test_non_finite_weights_are_flagged(olmoe: nn.Module) -> None:
    model = build("olmoe")
    with torch.no_grad():
        model.model.layers[0].mlp.gate.weight[0, 0] = torch.nan
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        model(some_ids())
        model(some_ids())
    for turn in range(2):
        assert (gathered.routes(0, turn).flags == 8).all()
