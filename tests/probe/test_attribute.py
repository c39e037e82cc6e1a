"""Attribution against sources of its own: ablation by hooks of the test, finite differences, and sums that must add up."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moedesk.core.attribution import Attribution
from moedesk.core.errors import MoedeskError
from moedesk.probe.explaining.attribute import attribute
from moedesk.probe.explaining.passage import passage_of_ids
from tests.support.families import build, some_ids
from tests.support.hand_written import LoopOverExperts, Small
from tests.support.hand_written import some_ids as some_small_ids
from tests.support.stopping import hooks_on

TEXT = "def add(a, b):\n    return a + b\n\nprint(add(1, 2))"


@pytest.fixture(scope="module")
def ids(sample: Any) -> list[int]:
    found: list[int] = sample[1](TEXT).input_ids
    return found


@pytest.fixture(scope="module")
def whole(sample: Any, ids: list[int]) -> Attribution:
    model, tokenizer = sample
    return attribute(model, passage_of_ids(ids, -3, tokenizer), tokenizer, value="logprob")


def logits_of(model: Any, ids: list[int]) -> Tensor:
    """Of the last token, float64."""
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1].double()


@contextmanager
def without(experts: nn.Module, expert: int) -> Iterator[None]:
    """The experts module of OLMoE called with weight 0 where the last row chose an expert."""

    def zero(module: nn.Module, args: Any) -> Any:
        hidden, chosen, weights = args
        weights = weights.clone()
        weights[-1, chosen[-1] == expert] = 0
        return hidden, chosen, weights

    handle = experts.register_forward_pre_hook(zero)
    try:
        yield
    finally:
        handle.remove()


def test_ablations_are_those_of_whole_runs_without_the_expert(sample: Any, ids: list[int], whole: Attribution) -> None:
    model, seen = sample[0], ids[:-2]
    before = logits_of(model, seen).log_softmax(-1)[ids[-2]]
    assert whole.value == pytest.approx(float(before), abs=1e-5)
    for place, layer in enumerate(model.model.layers):
        for slot, expert in enumerate(whole.experts[place].tolist()):
            with without(layer.mlp.experts, expert):
                after = logits_of(model, seen).log_softmax(-1)[ids[-2]]
            assert whole.ablation[place, slot] == pytest.approx(float(before - after), abs=2e-5)


def test_all_ablations_run_as_rows_of_one_batch(whole: Attribution) -> None:
    assert any("ablation: 12 runs of the token as rows of batches" in note for note in whole.notes)
    assert 0 < whole.noise < 1e-4


def test_an_expert_that_was_not_chosen_has_no_effect_at_all(sample: Any, ids: list[int], whole: Attribution) -> None:
    model, seen = sample[0], ids[:-2]
    before = logits_of(model, seen)
    for place, layer in enumerate(model.model.layers):
        other = next(expert for expert in range(16) if expert not in whole.experts[place])
        with without(layer.mlp.experts, other):
            assert torch.equal(logits_of(model, seen), before)
        assert whole.effect(place, other) == 0.0
    chosen = int(whole.experts[0, 0])
    assert whole.effect(0, chosen) == whole.ablation[0, 0] != 0


def test_everything_adds_up_to_the_logit(sample: Any, ids: list[int], whole: Attribution) -> None:
    logit = float(logits_of(sample[0], ids[:-2])[ids[-2]])
    assert whole.logit == pytest.approx(logit, abs=1e-5)
    assert np.nansum(whole.direct) + whole.component_direct.sum() == pytest.approx(logit, abs=1e-5)
    assert whole.complete
    assert whole.tolerance < 1e-3 * np.abs(whole.direct).max()
    assert (whole.sum_errors <= whole.sum_tolerances).all()
    assert "rounding explains" in repr(whole)
    assert "<table>" in whole._repr_html_()


def test_direct_contributions_are_products_with_the_unembedding(
    sample: Any, ids: list[int], whole: Attribution
) -> None:
    """By the norm and the head's own parameters, and what the MLPs' hooks give."""
    model, outputs, last = sample[0], [], []
    handles = [
        layer.mlp.register_forward_hook(lambda m, a, output: outputs.append(output)) for layer in model.model.layers
    ]
    handles.append(model.model.norm.register_forward_pre_hook(lambda m, args: last.append(args[0][0, -1].double())))
    try:
        logits_of(model, ids[:-2])
    finally:
        for handle in handles:
            handle.remove()
    scale = 1 / (last[0].square().mean() + model.config.rms_norm_eps).sqrt()
    row = (model.lm_head.weight[ids[-2]].double() * model.model.norm.weight.double() * scale).detach()
    for place, output in enumerate(outputs):
        made = output[0] if isinstance(output, tuple) else output
        assert whole.direct[place].sum() == pytest.approx(float(made.reshape(-1, 128)[-1].double() @ row), abs=1e-5)


def test_gradients_are_finite_differences() -> None:
    """In float64 but for its router's softmax: each block's output is moved a little towards what its slots gave."""
    model, ids, step = Small(LoopOverExperts, layers=3).double().eval(), some_small_ids(1)[0], 1e-3
    found = attribute(model, passage_of_ids(ids, -2), value="logprob", method="gradient")

    def moved(factor: float, module: nn.Module, args: Any, output: Any) -> Any:
        new = output[0].clone()
        new[0, -1] *= factor
        return new, *output[1:]

    for place, layer in enumerate(model.layers):
        values = []
        for factor in (1 + step, 1 - step):
            handle = layer["moe"].register_forward_hook(partial(moved, factor))
            with torch.no_grad():
                values.append(model(ids[None, :-1])[0, -1].log_softmax(-1)[ids[-1]])
            handle.remove()
        slope = float(values[0] - values[1]) / (2 * step)
        assert found.gradient[place].sum() == pytest.approx(slope, rel=2e-3, abs=2e-4)
    assert found.method == "gradient"
    assert np.isnan(found.direct).all() or not found.direct.size


def test_the_model_is_left_as_it_was(sample: Any, ids: list[int]) -> None:
    model, tokenizer = sample
    model.train()
    parameter = next(model.parameters())
    parameter.grad = torch.ones_like(parameter)
    hooks = hooks_on(model)  # transformers leaves some of its own where router logits were asked for
    attention, versions = model.config._attn_implementation, [p._version for p in model.parameters()]
    try:
        attribute(model, passage_of_ids(ids, 4, tokenizer), tokenizer)
        assert model.training
        assert bool((parameter.grad == 1).all())
        assert all(p.grad is None for p in list(model.parameters())[1:])
        assert model.config._attn_implementation == attention
        assert [p._version for p in model.parameters()] == versions
        assert hooks_on(model) == hooks

        def interrupted(share: float, text: str) -> None:
            if share > 0.5:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            attribute(model, passage_of_ids(ids, 4, tokenizer), tokenizer, progress=interrupted)
        assert model.training
        assert hooks_on(model) == hooks
    finally:
        parameter.grad = None
        model.eval()


def test_parameters_that_want_no_gradients(sample: Any, ids: list[int], whole: Attribution) -> None:
    model, tokenizer = sample
    try:
        model.requires_grad_(False)
        found = attribute(
            model, passage_of_ids(ids, -3, tokenizer), tokenizer, value="logprob", method=("direct", "gradient")
        )
    finally:
        model.requires_grad_(True)
    for name in ("direct", "gradient", "component_direct", "component_gradient", "gradient_norms"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), atol=1e-5)
    assert whole.stream_gradient_norms[0] == pytest.approx(whole.embedding_gradient_norms[-1], rel=1e-5)


def test_attention_runs_as_before_afterwards() -> None:
    model = build("olmoe")
    before = model.config._attn_implementation
    found = attribute(model, passage_of_ids(some_ids(1)[0]), method="norm")
    assert found.attention.shape == (2, 4, 9)
    np.testing.assert_allclose(found.attention.sum(-1), 1, rtol=1e-5)
    assert model.config._attn_implementation == before != "eager"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"layer": 6}, "no MoE layer 6; the model has 6"),
        ({"layer": "model.layers.9.mlp"}, "no MoE layer 'model.layers.9.mlp'"),
        ({"target": 2048}, "target 2048 is not in the vocabulary: token ids go from 0 to 2,047"),
        ({"target": "def return"}, "is 2 tokens"),
        ({"method": "shapley"}, "no method 'shapley'; there are direct, gradient, ablation, norm"),
        ({"value": "loss"}, "value='loss' is neither"),
    ],
)
def test_what_does_not_exist_is_said_in_one_line(
    sample: Any, ids: list[int], arguments: dict[str, Any], said: str
) -> None:
    model, tokenizer = sample
    with pytest.raises(MoedeskError, match=said) as caught:
        attribute(model, passage_of_ids(ids), tokenizer, **arguments)
    assert "\n" not in str(caught.value)


def test_tokens_that_cannot_be_explained(family: Any) -> None:
    with pytest.raises(MoedeskError, match="no token 99: there are 9, 0 to 8"):
        passage_of_ids(some_ids(1)[0], 99)
    with pytest.raises(MoedeskError, match="a token of the encoder has no next token"):
        attribute(family("switch_transformers"), passage_of_ids(some_ids(1)[0]))
    with pytest.raises(MoedeskError, match="token id 5,000 is not in the vocabulary"):
        attribute(family("olmoe"), passage_of_ids([5, 5000]))
    with pytest.raises(MoedeskError, match="takes no input_ids"):
        attribute(family("vitpose_backbone"), passage_of_ids([5, 6]))
