"""The verdict of a routing difference, on the sample model run in ways of which we know what differs."""

from collections.abc import Callable
from itertools import pairwise
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


def test_an_edited_text_is_judged_by_what_comes_before_the_edit(
    plain: Path, texts: list[torch.Tensor], tmp_path: Path
) -> None:
    """The same model: behind an edit tokens go elsewhere at large margins, which is no difference of the models."""
    texts = [torch.cat([text[:40], text[45:46], text[40:]]) for text in texts]
    with moedesk.open(plain) as a, moedesk.open(record(load(), tmp_path / "b.h5", texts)) as b:
        found = diff(a, b)
    stream = found.streams[0]
    flipped = stream.first_flip >= 0
    assert not flipped[stream.alignment.same_before].any()
    assert flipped[~stream.alignment.same_before].mean() > 0.1
    assert found.judgement.verdict in ("same", "noise")
    assert stream.alignment.edited == len(texts)
    assert "for the verdict" in found.left_out


def test_texts_generated_in_another_precision_are_judged_by_what_they_share(
    texts: list[torch.Tensor], tmp_path: Path
) -> None:
    paths = []
    for dtype in (torch.float32, torch.bfloat16):
        model = load(dtype)
        with torch.no_grad(), moedesk.record(model, tmp_path / f"{dtype}.h5"):
            model.generate(torch.stack([text[:6] for text in texts]), max_new_tokens=120, do_sample=False)
        paths.append(tmp_path / f"{dtype}.h5")
    with moedesk.open(paths[0]) as a, moedesk.open(paths[1]) as b:
        found = diff(a, b)
    assert found.judgement.verdict == "noise"
    assert found.streams[0].alignment.edited, "one of the texts must have gone another way, or this shows nothing"


def test_saturation_between_checkpoints_by_plain_sets(plain: Path, texts: list[torch.Tensor], tmp_path: Path) -> None:
    """Routers that moved farther from a checkpoint share fewer of its experts; each share counted by sets."""
    saturation = []
    for step in (0.02, 0.2, 2.0):
        model = load()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for layer in model.model.layers:
                weight = layer.mlp.gate.weight
                weight.add_(torch.randn(weight.shape, generator=generator) * weight.std() * step)
        with moedesk.open(plain) as a, moedesk.open(record(model, tmp_path / f"{step}.h5", texts)) as b:
            found = diff(a, b)
            for layer in found.layers:
                left, right = a.experts(layer.layer), b.experts(layer.layer)
                shared = [len(set(x) & set(y)) / len(x) for x, y in zip(left.tolist(), right.tolist(), strict=True)]
                assert 1 - layer.slot_mismatch == pytest.approx(sum(shared) / len(shared))
            saturation.append([1 - layer.slot_mismatch for layer in found.layers])
    for near, far in pairwise(saturation):
        assert all(one > other for one, other in zip(near, far, strict=True))


def test_swapped_experts_show_where_they_are_in_the_loads(
    plain: Path, texts: list[torch.Tensor], tmp_path: Path
) -> None:
    model = load()
    with torch.no_grad():
        swap_experts(model)
    with moedesk.open(plain) as a, moedesk.open(record(model, tmp_path / "b.h5", texts)) as b:
        layer = diff(a, b).layers[2]
    assert layer.counts_a[[0, 1]].tolist() == layer.counts_b[[1, 0]].tolist()
    assert layer.counts_a[2:].tolist() == layer.counts_b[2:].tolist()
