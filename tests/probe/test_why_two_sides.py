"""Why this expert in an encoder-decoder model: against sums of what modules return, worked out by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moedesk.core.errors import MoedeskError
from moedesk.probe.console.loaded import Loaded
from moedesk.probe.console.moe import Moe
from moedesk.probe.explaining.attribute import attribute
from moedesk.probe.explaining.counterfactual import counterfactual
from moedesk.probe.explaining.passage import Passage, passage_of_ids
from moedesk.probe.explaining.why import why
from moedesk.probe.finding.names import Names
from tests.support.families import build

SOURCE = [11, 57, 23, 80, 5, 42, 9, 71]
WRITTEN = [0, 33, 18, 64]
OF_ENCODER = passage_of_ids(SOURCE, 2)
OF_DECODER = replace(passage_of_ids(WRITTEN, 1), source=np.array(SOURCE))


def outputs_of(model: nn.Module, inputs: dict[str, Any], row: int, *paths: str) -> list[Tensor]:
    """A row of what modules return, float64; of a module that is called on both sides the last call."""
    kept: dict[str, Tensor] = {}

    def keeper(path: str) -> Callable[..., None]:
        def keep(module: nn.Module, args: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if tensor.shape[-2] > row:
                kept[path] = tensor.reshape(-1, tensor.shape[-1])[row].double()

        return keep

    handles = [model.get_submodule(path).register_forward_hook(keeper(path)) for path in paths]
    with torch.no_grad():
        model(**inputs)
    for handle in handles:
        handle.remove()
    return [kept[path] for path in paths]


def inputs_of(passage: Passage) -> dict[str, Any]:
    source = torch.tensor([SOURCE])
    if passage.source is None:
        return {"input_ids": source, "decoder_input_ids": torch.tensor([[0]])}
    return {"input_ids": source, "decoder_input_ids": torch.from_numpy(passage.ids)[None]}


def switch_parts(side: str) -> list[str]:
    parts = ["0.layer.0.SelfAttention", "0.layer.1.EncDecAttention", "0.layer.2.mlp"]
    last = ["1.layer.0.SelfAttention", "1.layer.1.EncDecAttention"]
    if side == "encoder":
        parts, last = ["0.layer.0.SelfAttention", "0.layer.1.mlp"], ["1.layer.0.SelfAttention"]
    return [f"{side}.block.{part}" for part in parts + last]


@pytest.mark.parametrize(("side", "passage", "layer"), [("encoder", OF_ENCODER, 1), ("decoder", OF_DECODER, 5)])
def test_switch_transformers(family: Any, side: str, passage: Passage, layer: int) -> None:
    model = family("switch_transformers")
    found = why(model, passage, layer)
    row = len(passage.ids) - 1
    paths = switch_parts(side)
    embedded = model.shared.weight[passage.ids[-1]].detach().double()
    terms = [embedded, *outputs_of(model, inputs_of(passage), row, *paths)]
    block = model.get_submodule(f"{side}.block.1.layer.{1 if side == 'encoder' else 2}")
    stream = torch.stack(terms).sum(0)
    scale = block.layer_norm.weight.double() / (stream.square().mean() + block.layer_norm.variance_epsilon).sqrt()
    slope = block.mlp.router.classifier.weight.double() * scale
    expected = torch.stack([slope @ term for term in terms]).detach().numpy()
    cross = ["cross-attention 0"] if side == "decoder" else []
    names = ["embedding", "attention 0", *cross, "MoE 0", "attention 1", *(name.replace("0", "1") for name in cross)]
    assert [component.name for component in found.components] == names
    np.testing.assert_allclose(found.contributions, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.explained, expected.sum(0), rtol=0, atol=1e-5)
    assert found.complete
    assert found.path.startswith(f"{side}.block.1.")
    assert any(f"the token is one of the {side}, which reads" in note for note in found.notes)


@pytest.mark.parametrize(("side", "passage", "layer"), [("encoder", OF_ENCODER, 1), ("decoder", OF_DECODER, 3)])
def test_nllb_moe(side: str, passage: Passage, layer: int) -> None:
    """A LayerNorm, whose mean is a part of each term, and its bias."""
    model: Any = build("nllb_moe")
    with torch.no_grad():
        norm = model.get_submodule(f"model.{side}.layers.1.ff_layer_norm")
        norm.bias.copy_(torch.linspace(-1, 1, len(norm.bias)))
    found = why(model, passage, layer)
    row = len(passage.ids) - 1
    stack = model.get_submodule(f"model.{side}")
    attentions = ["self_attn", "cross_attention"] if side == "decoder" else ["self_attn"]
    paths = [f"model.{side}.layers.0.{part}" for part in [*attentions, "ffn"]]
    paths += [f"model.{side}.layers.1.{part}" for part in attentions]
    (positions,) = outputs_of(model, inputs_of(passage), row, f"model.{side}.embed_positions")
    embedded = stack.embed_tokens.weight[passage.ids[-1]].detach().double() * stack.embed_tokens.embed_scale
    terms = [embedded, positions, *outputs_of(model, inputs_of(passage), row, *paths)]
    terms = [term - term.mean() for term in terms]
    stream = torch.stack(terms).sum(0)
    scale = norm.weight.double() / (stream.square().mean() + norm.eps).sqrt()
    router = model.get_submodule(f"model.{side}.layers.1.ffn.router.classifier").weight.double()
    expected = torch.stack([*((router * scale) @ term for term in terms), router @ norm.bias.double()])
    assert found.components[-1].kind == "constant"
    attention = [c.name for c in found.components if c.kind == "attention"]
    assert attention == ["attention 0", "cross-attention 0", "attention 1", "cross-attention 1"][:: 3 - len(attentions)]
    np.testing.assert_allclose(found.contributions, expected.detach().numpy(), rtol=0, atol=1e-5)
    assert found.complete


def test_what_the_decoder_s_experts_did(family: Any) -> None:
    """Switch's experts are modules: one that gives nothing to the token's row, and products with the head."""
    model = family("switch_transformers")
    inputs = inputs_of(OF_DECODER)
    found = attribute(model, OF_DECODER, target=7, value="logit")
    (end,) = outputs_of(model, inputs, 1, "decoder.block.3")
    norm = model.decoder.final_layer_norm
    slope = model.lm_head.weight[7].double() * norm.weight.double()
    slope = (slope / (end.square().mean() + norm.variance_epsilon).sqrt()).detach()
    slope *= model.config.d_model**-0.5 if model.config.tie_word_embeddings else 1
    with torch.no_grad():
        assert found.logit == pytest.approx(float(model(**inputs).logits[0, -1, 7]), abs=1e-5)
    assert found.complete
    for name, path in [("attention 1", "1.layer.0.SelfAttention"), ("cross-attention 3", "3.layer.1.EncDecAttention")]:
        (row,) = outputs_of(model, inputs, 1, f"decoder.block.{path}")
        place = [component.name for component in found.components].index(name)
        assert found.component_direct[place] == pytest.approx(float(row @ slope), abs=1e-6)
    assert found.layers.tolist() == [4, 5, 6, 7]
    ran = np.flatnonzero(found.experts[:, 0] >= 0)
    assert len(ran)
    for place in ran.tolist():
        layer = model.decoder.block[place].layer[2].mlp

        def silent(module: nn.Module, args: Any, output: Any) -> Any:
            new = (output[0] if isinstance(output, tuple) else output).clone()
            new.view(-1, new.shape[-1])[1] = 0
            return (new, *output[1:]) if isinstance(output, tuple) else new

        handle = layer.experts.register_forward_hook(silent)
        with torch.no_grad():
            without = float(model(**inputs).logits[0, -1, 7])
        handle.remove()
        assert found.ablation[place, 0] == pytest.approx(found.value - without, abs=1e-5)


def test_the_console_takes_both_sides(family: Any) -> None:
    moe = Moe(Names({}), lambda: pytest.fail("no link is needed"))
    moe._loaded = Loaded(family("switch_transformers"), None)
    of_encoder, of_decoder = moe.why(SOURCE, 1, 2), moe.why(SOURCE, 5, 1, decoder=WRITTEN)
    np.testing.assert_array_equal(of_encoder.logits, why(moe._loaded.model, OF_ENCODER, 1).logits)
    np.testing.assert_array_equal(of_decoder.logits, why(moe._loaded.model, OF_DECODER, 5).logits)
    assert moe.attribute(SOURCE, 1, decoder=WRITTEN, method="norm").target_id == WRITTEN[2]


@pytest.mark.parametrize(
    ("name", "run", "said"),
    [
        ("switch_transformers", lambda m: why(m, OF_ENCODER, 5), "layer 5 (decoder.block.1.layer.2.mlp) is in the decoder, and"),
        ("switch_transformers", lambda m: why(m, OF_DECODER, 1), "layer 1 (encoder.block.1.layer.1.mlp) is in the encoder, and"),
        ("switch_transformers", lambda m: why(m, replace(OF_ENCODER, after=None), 1), "was not recorded, or can't be told"),
        ("switch_transformers", lambda m: attribute(m, OF_ENCODER), "a token of the encoder has no next token"),
        ("switch_transformers", lambda m: counterfactual(m, OF_ENCODER), "a token of the encoder has no next token"),
        ("olmoe", lambda m: why(m, OF_DECODER, 1), "OlmoeForCausalLM has no decoder of its own; leave decoder= out"),
    ],
)  # fmt: skip
def test_what_can_not_be_explained_is_said_in_one_line(
    family: Any, name: str, run: Callable[[Any], Any], said: str
) -> None:
    with pytest.raises(MoedeskError) as error:
        run(family(name))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
