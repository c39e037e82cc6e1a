"""Loading models from this machine only."""

from pathlib import Path

import pytest
import torch
from transformers.models.switch_transformers import SwitchTransformersForConditionalGeneration

from moedesk.core.errors import MoedeskError
from moedesk.probe.load import load
from tests.support.families import build


@pytest.mark.parametrize("name", ["sample", "sample-sick"])
def test_the_samples(name: str) -> None:
    model, tokenizer = load(name)
    assert (model.dtype, model.training) == (torch.float32, False)
    assert tokenizer.decode(tokenizer("def f(x):").input_ids) == "def f(x):"


def test_a_folder_without_a_tokenizer_of_a_model_with_encoder_and_decoder(tmp_path: Path) -> None:
    build("switch_transformers").to(torch.bfloat16).save_pretrained(tmp_path)
    model, tokenizer = load(tmp_path)
    assert isinstance(model, SwitchTransformersForConditionalGeneration)
    assert model.dtype == torch.bfloat16
    assert tokenizer is None


def test_what_is_not_here_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no-such-type"}')
    for name in ("no/such-model", str(tmp_path), str(tmp_path / "missing")):
        with pytest.raises(MoedeskError) as caught:
            load(name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)
