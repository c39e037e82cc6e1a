"""The verdict of a routing difference, on the sample model run in ways of which we know what differs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

import moedesk
from moedesk.analysis.diff.report import RoutingDiff, diff
from moedesk.core.resources import resource

ROOT = resource("sample", "tinymoe")


def load(dtype: torch.dtype = torch.float32, implementation: str | None = None) -> nn.Module:
    model = AutoModelForCausalLM.from_pretrained(ROOT, dtype=dtype).eval()
    if implementation:
        model.set_experts_implementation(implementation)
    return model


@pytest.fixture(scope="module")
def texts() -> list[torch.Tensor]:
    tokenizer = AutoTokenizer.from_pretrained(ROOT)
    files = [resource("sample", "domains", name, "01.txt") for name in ("python", "english", "json", "german")]
    return [tokenizer(file.read_text()[:400], return_tensors="pt").input_ids[0][:128] for file in files]


def record(model: nn.Module, path: Path, texts: list[torch.Tensor], batched: bool = False) -> Path:
    with torch.no_grad(), moedesk.record(model, path):
        if batched:  # left-padded, and in another order
            texts = texts[::-1]
            length = max(map(len, texts)) + 3
            ids = torch.stack([nn.functional.pad(text, (length - len(text), 0)) for text in texts])
            mask = torch.stack([nn.functional.pad(torch.ones_like(text), (length - len(text), 0)) for text in texts])
            model(input_ids=ids, attention_mask=mask)
        else:
            for text in texts:
                model(input_ids=text[None])
    return path


@pytest.fixture(scope="module")
def plain(texts: list[torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(load(), tmp_path_factory.mktemp("diff") / "plain.h5", texts)


@pytest.fixture
def against(plain: Path, texts: list[torch.Tensor], tmp_path: Path) -> Callable[..., RoutingDiff]:
    def compare(model: nn.Module, **options: bool) -> RoutingDiff:
        with moedesk.open(plain) as a, moedesk.open(record(model, tmp_path / "b.h5", texts, **options)) as b:
            return diff(a, b)

    return compare


def test_the_same_run_twice_is_the_same(against: Callable[..., RoutingDiff], texts: list[torch.Tensor]) -> None:
    found = against(load())
    assert found.judgement.verdict == "same"
    assert found.tokens_aligned == sum(map(len, texts))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_noise(against: Callable[..., RoutingDiff], dtype: torch.dtype) -> None:
    found = against(load(dtype))
    assert found.judgement.verdict == "noise"
    assert found.weight_tv > 0
    if dtype == torch.bfloat16:
        assert 0 < found.flip_rate < 0.05


def test_a_padded_batch_is_noise_or_the_same(against: Callable[..., RoutingDiff], texts: list[torch.Tensor]) -> None:
    found = against(load(), batched=True)
    assert found.judgement.verdict in ("same", "noise")
    assert found.tokens_aligned == sum(map(len, texts))
    assert found.flip_rate < 0.01


def test_another_experts_implementation_is_noise_or_the_same(against: Callable[..., RoutingDiff]) -> None:
    found = against(load(implementation="batched_mm"))
    assert found.judgement.verdict in ("same", "noise")


def swap_experts(model: nn.Module) -> None:
    weight = model.model.layers[2].mlp.gate.weight
    weight[[0, 1]] = weight[[1, 0]].clone()


def renormalise(model: nn.Module) -> None:
    for layer in model.model.layers[1:]:
        layer.mlp.gate.norm_topk_prob = not layer.mlp.gate.norm_topk_prob


def swap_layers(model: nn.Module) -> None:
    model.model.layers[3].mlp.gate.weight.copy_(model.model.layers[2].mlp.gate.weight)


def sharpen(model: nn.Module) -> None:
    for layer in model.model.layers:
        layer.mlp.gate.weight.mul_(1.05)


@pytest.mark.parametrize(("change", "place"), [(swap_experts, 2), (renormalise, 1), (swap_layers, 3), (sharpen, 0)])
def test_another_logic_is_found_where_it_begins(
    against: Callable[..., RoutingDiff], change: Callable[[nn.Module], None], place: int
) -> None:
    model = load()
    with torch.no_grad():
        change(model)
    found = against(model)
    assert found.judgement.verdict == "logic"
    assert found.judgement.evidence[0].layer == f"model.layers.{place}.mlp"


def test_another_logic_is_told_from_noise_in_half_precision(against: Callable[..., RoutingDiff]) -> None:
    model = load(torch.bfloat16)
    with torch.no_grad():
        swap_experts(model)
    found = against(model)
    assert found.judgement.verdict == "logic"
    assert found.judgement.evidence[0].layer == "model.layers.2.mlp"
