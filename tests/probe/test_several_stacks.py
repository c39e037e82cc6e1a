"""Models with several stacks of experts: what thinks and what speaks, the model and its draft head. They never mix."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from moedesk.core.columns import TokenKind
from moedesk.probe.taking.tokens import token_kinds
from tests.support.families import build, some_ids
from tests.support.families.composites import MROPE
from tests.support.families.family import model_class, spread, tiny_config
from tests.support.gathered import gather


@pytest.fixture(scope="module")
def omni() -> Any:
    """Qwen3-Omni whole: a thinker and a talker, each with experts."""
    torch.manual_seed(0)
    thinker = CONFIG_MAPPING["qwen3_omni_moe_thinker"](
        text_config=tiny_config("qwen3_omni_moe_text", rope_parameters=MROPE),
        audio_config={"d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 48, "output_dim": 32},
        vision_config={"depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32},
        audio_token_id=95, image_token_id=90, video_token_id=91,
    )  # fmt: skip
    predictor = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 101,
    }  # fmt: skip
    text = tiny_config("qwen3_omni_moe_talker_text", shared_expert_intermediate_size=24, rope_parameters=MROPE)
    talker = {
        "text_config": text.to_dict(),
        "code_predictor_config": predictor,
        "thinker_hidden_size": 32,
        "spatial_merge_size": 2,
    }
    code = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "intermediate_size": 48,
        "num_attention_heads": 2,
        "decoder_dim": 32,
    }
    config = CONFIG_MAPPING["qwen3_omni_moe"](
        thinker_config=thinker.to_dict(), talker_config=talker, code2wav_config=code
    )
    model = model_class("qwen3_omni_moe.Qwen3OmniMoeForConditionalGeneration")(config)
    spread(model)
    return model.eval()


def test_a_thinker_and_a_talker_have_streams_of_their_own(omni: Any) -> None:
    recording, gathered = gather(omni)
    ids = some_ids()
    with torch.no_grad(), recording:
        omni.thinker(input_ids=ids)
        omni.talker.model(inputs_embeds=torch.randn(1, 5, 32))
    found = {(layer.stream, layer.path.partition(".")[0], layer.shared) for layer in gathered.model.layers}
    assert found == {("main", "thinker", 0), ("talker", "talker", 1)}
    assert [list(batch.tokens) for batch in gathered.batches] == [["main"], ["talker"]]
    np.testing.assert_array_equal(gathered.tokens("main")["token_id"], ids.flatten())
    assert len(gathered.tokens("talker")) == 5


def test_token_kinds_are_found_in_nested_configurations(omni: Any) -> None:
    expected = {90: TokenKind.IMAGE, 91: TokenKind.IMAGE, 95: TokenKind.AUDIO}  # the talker has its own besides
    assert token_kinds(omni.config).items() >= expected.items()


class WithDrafts(nn.Module):
    """A model and its draft head in one module, as some hand-written code has it."""

    def __init__(self, model: nn.Module, drafts: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.mtp = drafts

    def forward(self, input_ids: torch.Tensor) -> Any:
        output = self.model(input_ids, output_hidden_states=True)
        return output, draft(self.mtp, input_ids, output.hidden_states[-1])


def draft(drafts: Any, ids: torch.Tensor, hidden: torch.Tensor) -> Any:
    """One new token of the draft head."""
    places = torch.arange(1, ids.shape[1])[None]
    return drafts(ids[:, 1:], hidden[:, :-1], None, places, None)


@pytest.fixture(scope="module")
def drafted() -> tuple[Any, Any]:
    """A model, and the multi-token-prediction head that transformers builds for it."""
    from transformers.modeling_layers import MtpModel

    model = build("mellum", num_mtp_layers=1, mtp_layer_types=["full_attention"], mtp_mlp_layer_types=["sparse"])
    torch.manual_seed(0)
    drafts = MtpModel(model, 1)
    return model, drafts.eval()


def test_a_draft_head_beside_the_model_leaves_no_trace(drafted: tuple[Any, Any]) -> None:
    """So it is with ``generate(use_mtp=True)``: its layers are no part of the model."""
    model, drafts = drafted
    recording, gathered = gather(model)
    ids = some_ids(1)
    with torch.no_grad(), recording:
        hidden = model(ids, output_hidden_states=True).hidden_states[-1]
        draft(drafts, ids, hidden)
    assert [layer.stream for layer in gathered.model.layers] == ["main"] * 2
    assert len(gathered.batches) == 1
    assert not gathered.notes


def test_a_draft_head_inside_the_model_has_a_stream_of_its_own(drafted: tuple[Any, Any]) -> None:
    model, ids = WithDrafts(*drafted), some_ids(1)
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        model(ids)
    assert [layer.stream for layer in gathered.model.layers] == ["main"] * 2 + ["draft"]
    assert gathered.model.streams == ("main", "draft")
    tokens = gathered.batches[0].tokens
    np.testing.assert_array_equal(tokens["main"]["token_id"], ids.flatten())
    assert len(tokens["draft"]) == ids.numel() - 1
    assert gathered.routes(2).counts.sum() == 2 * (ids.numel() - 1)
