"""Why this expert: against models whose answer is known, and against runs with one part of the stream taken away."""

from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from moedesk.core.attribution import Component, Why
from moedesk.core.attribution_json import put_together
from moedesk.core.errors import MoedeskError
from moedesk.probe.console.loaded import Loaded
from moedesk.probe.console.moe import Moe
from moedesk.probe.explaining.passage import Passage, passage_of_ids
from moedesk.probe.explaining.why import why
from moedesk.probe.finding.names import Names
from tests.support.families import FAMILIES

IDS = [11, 57, 23, 80, 5, 42, 9, 71]


def passage(index: int = -1) -> Passage:
    return passage_of_ids(IDS, index)


@cache
def model_of(name: str) -> nn.Module:
    return FAMILIES[name].build()


class Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, width))

    def forward(self, hidden: Tensor) -> Tensor:
        return self.weight * hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + 1e-6)


class Experts(nn.Module):
    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.stacked = nn.Parameter(torch.randn(count, width, width) / width)

    def forward(self, hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        return torch.einsum("nk,nkdh,nd->nh", top_k_weights, self.stacked[top_k_index], hidden)


class Block(nn.Module):
    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, count)
        self.experts = Experts(count, width)

    def forward(self, hidden: Tensor) -> Tensor:
        rows = hidden.reshape(-1, hidden.shape[-1])
        weights, ids = self.gate(rows).softmax(-1).topk(2)
        return self.experts(rows, ids, weights).view_as(hidden)


class Layer(nn.Module):
    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.input_norm, self.post_norm = Norm(width), Norm(width)
        self.mixing_attention = nn.Linear(width, width)
        self.block = Block(count, width)

    def forward(self, hidden: Tensor) -> Tensor:
        steps = torch.arange(1, hidden.shape[1] + 1).view(1, -1, 1)
        hidden = hidden + 0.5 * self.mixing_attention(self.input_norm(hidden)).cumsum(1) / steps
        return hidden + self.block(self.post_norm(hidden))


class Toy(nn.Module):
    """Its residual stream is known: what is multiplied after the mixing is half of it, and spread over the tokens before."""

    def __init__(self, count: int = 6, width: int = 16, layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, width)
        self.layers = nn.ModuleList(Layer(count, width) for _ in range(layers))
        self.head = nn.Linear(width, 100)

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.embed(input_ids)
        for layer in self.layers:
            hidden = layer(hidden)
        return self.head(hidden)


@pytest.fixture(scope="module")
def toy() -> Toy:
    torch.manual_seed(0)
    return Toy().double().eval()


def outputs_of(model: nn.Module, *paths: str) -> dict[str, Any]:
    """What some modules return for the passage."""
    kept: dict[str, Any] = {}
    handles = [
        model.get_submodule(path).register_forward_hook(
            lambda module, args, output, path=path: kept.__setitem__(path, output)
        )
        for path in paths
    ]
    with torch.no_grad():
        model(torch.tensor([IDS]))
    for handle in handles:
        handle.remove()
    return kept


def test_contributions_are_those_worked_out_by_hand(toy: Toy) -> None:
    found = why(toy, passage(), 1)
    parts = ["embed", "layers.0.mixing_attention", "layers.0.block", "layers.1.mixing_attention"]
    embedding, first, block, second = outputs_of(toy, *parts).values()
    terms = [embedding[0, -1], 0.5 * first[0].mean(0), block[0, -1], 0.5 * second[0].mean(0)]
    last = toy.layers[1]
    stream = sum(terms)
    slope = last.block.gate.weight * last.post_norm.weight / (stream.square().mean() + 1e-6).sqrt()
    expected = torch.stack([slope @ term for term in terms] + [last.block.gate.bias]).detach().numpy()
    assert [component.name for component in found.components] == [
        "embedding", "attention 0", "MoE 0", "attention 1", "bias",
    ]  # fmt: skip
    np.testing.assert_allclose(found.contributions, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.logits, expected.sum(0), rtol=0, atol=1e-6)  # captured as float32
    assert found.complete
    assert found.tolerance.max() < 1e-11


def test_ranking_is_that_of_the_model(toy: Toy) -> None:
    found = why(toy, passage(), 0)
    (logits,) = outputs_of(toy, "layers.0.block.gate").values()
    shares = logits[-1].softmax(-1).numpy()
    order = np.argsort(-shares)
    np.testing.assert_array_equal(found.chosen, order[:2])
    np.testing.assert_allclose(found.weights, shares[order[:2]], rtol=1e-6)
    np.testing.assert_allclose(found.ranked, shares, rtol=1e-6)
    assert found.runner_up == order[2]
    assert found.margin == pytest.approx(shares[order[1]] - shares[order[2]], rel=1e-5)
    assert found.kept.all()
    assert not found.bias.any()


class CosineGate(nn.Module):
    """A capped cosine similarity."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.randn(count, width))

    def forward(self, rows: Tensor) -> Tensor:
        products = 4 * functional.normalize(rows, dim=-1) @ functional.normalize(self.keys, dim=-1).T
        return 2 * torch.tanh(products / 2)


class Cosine(nn.Module):
    """Its stream is multiplied with what it began as; its norm subtracts a mean and adds a bias."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, width)
        self.mlp = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.block = Block(6, width)
        self.block.gate = CosineGate(6, width)  # type: ignore[assignment]
        nn.init.normal_(self.norm.bias)

    def forward(self, input_ids: Tensor) -> Tensor:
        embedded = self.embed(input_ids)
        hidden = embedded + self.mlp(embedded)
        hidden = hidden * embedded
        return hidden + self.block(self.norm(hidden))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_caps_and_factors_are_taken_for_given(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    model = Cosine().to(dtype).eval()
    found = why(model, passage(), 0)
    parts = {path: output[0, -1].double() for path, output in outputs_of(model, "embed", "mlp").items()}
    stream = sum(parts.values())
    factor = parts["embed"]
    weight, bias = model.norm.weight.double(), model.norm.bias.double()
    scale = weight / (factor * stream).var(correction=0).add(model.norm.eps).sqrt()
    read = {name: scale * (factor * part - (factor * part).mean()) for name, part in parts.items()} | {"bias": bias}
    keys = functional.normalize(model.block.gate.keys.double(), dim=-1)
    product = 4 * keys @ sum(read.values()) / sum(read.values()).norm()
    capped = 2 * torch.tanh(product / 2)
    slope = 4 * keys / sum(read.values()).norm() * (capped / product).unsqueeze(-1)
    expected = torch.stack([slope @ part for part in read.values()]).detach().numpy()
    assert [component.name for component in found.components] == ["embedding", "MLP", "bias"]
    np.testing.assert_allclose(found.contributions, expected, atol=1e-5 if dtype == torch.float32 else 1e-10)
    np.testing.assert_array_equal(found.explained.astype(np.float32), found.logits.astype(np.float32))
    assert found.complete
    assert any(note.startswith("tanh on the way") for note in found.notes)


@pytest.mark.parametrize(
    ("name", "layer", "norm", "gate", "parts"),
    [
        ("mixtral", 1, "model.layers.1.post_attention_layernorm", "model.layers.1.mlp.gate", {
            "embedding": "model.embed_tokens", "attention 0": "model.layers.0.self_attn", "MoE 0": "model.layers.0.mlp",
            "attention 1": "model.layers.1.self_attn",
        }),
        ("granitemoeshared", 1, "model.layers.1.post_attention_layernorm", "model.layers.1.block_sparse_moe.router", {
            "embedding": "model.embed_tokens", "attention 0": "model.layers.0.self_attn",
            "MoE 0": "model.layers.0.block_sparse_moe", "shared experts 0": "model.layers.0.shared_mlp",
            "attention 1": "model.layers.1.self_attn",
        }),
        ("cohere2_moe", 1, "model.layers.1.input_layernorm", "model.layers.1.mlp.gate", {
            "embedding": "model.embed_tokens", "attention 0": "model.layers.0.self_attn", "MoE 0": "model.layers.0.mlp",
        }),
    ],
)  # fmt: skip
def test_a_part_taken_away_changes_the_logit_by_its_contribution(
    name: str, layer: int, norm: str, gate: str, parts: dict[str, str]
) -> None:
    """All other parts as they were, the norm at the scale that it had: what is left is what the part brought."""
    model = model_of(name)
    found = why(model, passage(), layer)
    assert [component.name for component in found.components] == list(parts)
    kept = outputs_of(model, *parts.values())
    for row, path in enumerate(parts.values()):
        without = {**kept, path: _zero(kept[path])}
        np.testing.assert_allclose(_difference(model, kept, without, norm, gate), found.contributions[row], atol=5e-6)


def _zero(output: Any) -> Any:
    return (torch.zeros_like(output[0]), *output[1:]) if isinstance(output, tuple) else torch.zeros_like(output)


def _difference(model: nn.Module, outputs: dict[str, Any], others: dict[str, Any], norm: str, gate: str) -> np.ndarray:
    """The last token's logits where modules return some outputs, minus those where they return others.

    The norm keeps its scale of the first of these runs.
    """
    logits: list[Tensor] = []
    scales: list[Tensor] = []

    def frozen(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        hidden = args[0] - args[0].mean(-1, keepdim=True) if "LayerNorm" in type(module).__name__ else args[0]
        scales.append(output / hidden)
        return hidden * scales[0]

    def take(module: nn.Module, args: Any, output: Any) -> None:
        given = output if isinstance(output, tuple) else (output,)
        logits.append(next(tensor for tensor in given if tensor.shape[-1] == 8).reshape(-1, 8)[-1].double())

    with ExitStack() as stack, torch.no_grad():
        stack.callback(model.get_submodule(norm).register_forward_hook(frozen).remove)
        stack.callback(model.get_submodule(gate).register_forward_hook(take).remove)
        for given in (outputs, others):
            handles = [
                model.get_submodule(path).register_forward_hook(lambda module, args, output, value=value: value)
                for path, value in given.items()
            ]
            model(torch.tensor([IDS]))
            for handle in handles:
                handle.remove()
    return (logits[0] - logits[1]).numpy()


def test_noise_in_a_sum_of_bfloat16_is_within_the_tolerance_and_a_missing_part_is_not() -> None:
    model = FAMILIES["qwen3_moe"].build().bfloat16()
    found = why(model, passage(), 1)
    assert found.dtype == "bfloat16"
    assert found.complete
    assert np.abs(found.remainder).max() > 1e-5
    for row in range(1, len(found.components)):
        assert (np.abs(found.remainder + found.contributions[row]) > found.tolerance).any()


@pytest.mark.parametrize("index", range(8))
def test_groups_and_bias_are_shown_as_the_router_used_them(index: int) -> None:
    model = model_of("deepseek_v3")
    found = why(model, passage(index), 1)
    gate = model.get_submodule("model.layers.2.mlp.gate")
    scores = torch.from_numpy(found.logits).sigmoid()
    choice = scores + gate.e_score_correction_bias.double()
    best = choice.view(4, 2).sum(-1).topk(2).indices
    np.testing.assert_allclose(found.transformed, scores, rtol=1e-5)
    np.testing.assert_allclose(found.bias, gate.e_score_correction_bias)
    np.testing.assert_array_equal(np.flatnonzero(found.kept.reshape(4, 2).all(1)), best.sort().values)
    candidates = np.where(found.kept, choice, -np.inf)
    order = np.argsort(-candidates)
    np.testing.assert_array_equal(np.sort(found.chosen), np.sort(order[:2]))
    assert found.runner_up == order[2]
    assert found.margin == pytest.approx(candidates[order[1]] - candidates[order[2]], rel=1e-4)


def test_the_model_is_left_as_it_was(toy: Toy) -> None:
    toy.train()
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in toy.modules()]
    before = toy(torch.tensor([IDS]))
    why(toy, passage(), 1)
    assert torch.equal(toy(torch.tensor([IDS])), before)
    assert [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in toy.modules()] == hooks
    assert all(module.training for module in toy.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in toy.parameters())
    toy.eval()


def test_in_inference_mode_it_is_the_same(toy: Toy) -> None:
    expected = why(toy, passage(), 1)
    with torch.inference_mode():
        found = why(toy, passage(), 1)
    np.testing.assert_array_equal(found.contributions, expected.contributions)


@pytest.mark.parametrize(
    ("layer", "experts", "said"),
    [
        (2, None, "no MoE layer 2; the model has 2: 0 (layers.0.block) … 1 (layers.1.block)"),
        (0, 6, "layer 0 has experts 0 to 5, not 6"),
        (0, [True], "layer 0 has experts 0 to 5, not True"),
    ],
)
def test_what_is_not_there_is_refused(toy: Toy, layer: int, experts: Any, said: str) -> None:
    with pytest.raises(MoedeskError) as error:
        why(toy, passage(), layer, experts)
    assert str(error.value) == said


def test_the_table_shows_what_it_found(toy: Toy) -> None:
    found = why(toy, passage(), 1)
    text = repr(found)
    assert f"expert {found.runner_up} missed by {found.margin:.4g}" in text
    for component, row in zip(found.components, found.contributions, strict=True):
        line = next(line for line in text.splitlines() if line.startswith(component.name + " "))
        assert f"{row[found.chosen[0]]:+.4f}" in line
    assert "they add up" in text
    assert f'<td style="text-align: right">{found.logits[found.chosen[0]]:.4f}</td>' in found._repr_html_()


def test_the_smallest_of_many_parts_are_summed_up(toy: Toy) -> None:
    found = why(toy, passage(), 1)
    names = [Component(f"part {place}") for place in range(30)]
    rows = np.arange(30.0)[::-1, None] * np.ones((1, 6))
    lines = repr(replace(found, components=tuple(names), contributions=rows)).splitlines()
    assert [line.split("  ")[0] for line in lines if line.startswith("part ")] == [
        f"part {place}" for place in range(23)
    ]
    (rest,) = (line for line in lines if line.startswith("7 smaller ones"))
    assert f"{sum(range(7)):+.4f}" in rest


def test_the_console_explains_ids_and_answers_an_app_the_same(toy: Toy) -> None:
    moe = Moe(Names({}), lambda: pytest.fail("no link is needed"))
    moe._loaded = Loaded(toy, None)
    found = moe.why(IDS, 1, index=5)
    np.testing.assert_array_equal(found.logits, why(toy, passage(5), 1).logits)
    assert (found.token.token_id, found.token.index) == (IDS[5], 5)
    shares: list[float] = []
    asked = {"passage": {"ids": IDS[:6], "row": 17, "routes": {"1": [[0, 1], [0.5, 0.5]]}}, "layer": 1}
    value, arrays = moe.do_why(asked, lambda share, text: shares.append(share))
    again = put_together(value, arrays)
    assert isinstance(again, Why)
    np.testing.assert_array_equal(again.contributions, found.contributions)
    assert again.token.row == 17
    assert set(found.chosen.tolist()) != {0, 1}
    assert "captured was another choice: 0, 1; a batch, a cache or sampling may have made the difference" in again.notes
    assert shares == sorted(shares)
    with pytest.raises(MoedeskError, match="there is no tokenizer for a text"):
        moe.why("some text", 1)
    with pytest.raises(MoedeskError, match="asked why without a layer"):
        moe.do_why({"passage": {"ids": IDS}}, lambda share, text: None)
    with pytest.raises(MoedeskError, match="no model to explain"):
        Moe(Names({}), lambda: pytest.fail("no link is needed")).why(IDS, 1)
