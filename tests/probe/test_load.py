"""Loading models from this machine only."""

from io import StringIO
from pathlib import Path

import pytest
import torch
import transformers
from transformers.models.switch_transformers import SwitchTransformersForConditionalGeneration

from moedesk.core.errors import MoedeskError
from moedesk.probe.console.progress import ProgressLine
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


def test_progress_rises_to_the_whole(tmp_path: Path) -> None:
    build("olmoe").save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    shares: list[float] = []
    model, _ = load(tmp_path, shares.append)
    assert shares == sorted(shares)
    assert shares[0] < 0.2
    assert shares[-1] == 1
    assert len(shares) >= len(model.state_dict()) / 2


def test_options_reach_from_pretrained_and_bars_stay_as_they_were(tmp_path: Path) -> None:
    build("olmoe").save_pretrained(tmp_path)
    hook = transformers.utils.logging.set_tqdm_hook(None)
    try:
        transformers.utils.logging.enable_progress_bar()
        model, _ = load(tmp_path, lambda share: None, dtype=torch.float16)
        assert model.dtype == torch.float16
        assert transformers.utils.logging.is_progress_bar_enabled()
        assert transformers.utils.logging.set_tqdm_hook(None) is None
    finally:
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_tqdm_hook(hook)


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_rewrites_itself_only_where_text_can_be_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    terminal, file = Terminal(), StringIO()
    for out in (terminal, file):
        now[0] = 0.0
        line = ProgressLine("loading mixtral", "of the weights", out)
        for percent in range(101):
            now[0] += 1 / 16
            line(percent / 100)
        line.done("MixtralForCausalLM")
    written = terminal.getvalue().split("\r")
    assert written[0] == "loading mixtral: 0% of the weights · 0 s"
    assert written[1] == "loading mixtral: 2% of the weights · 0 s"
    assert len(written) == 51 + 1
    assert written[-1].rstrip() == "MixtralForCausalLM · 6.3 s"
    assert len(written[-1].rstrip("\n")) >= len(written[-2])  # it covers what stood there
    assert file.getvalue() == "MixtralForCausalLM · 6.3 s\n"
