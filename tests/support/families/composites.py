"""Models of several parts: text and pictures, two stacks of experts, a wrapper around another family. Real pixels go in."""

from collections.abc import Sequence
from dataclasses import fields, replace
from math import nan
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.support.families import oracles
from tests.support.families.family import Family, Layer, model_class, some_ids, tiny_config
from tests.support.families.grouped import DEEPSEEK
from tests.support.families.plain import POST_NORM

IMAGE, VIDEO, START, END = 90, 91, 92, 93
TOKENS = {
    "image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": START, "vision_end_token_id": END,
    "image_token_index": IMAGE, "image_start_token_id": START, "image_end_token_id": END,
}  # fmt: skip
MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2], "mrope_interleaved": True}
QWEN_VISION = {
    "depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2,
    "out_hidden_size": 32, "num_position_embeddings": 16,
}  # fmt: skip


def composite(kind: str, kind_class: str, text: Any, vision: Any, **further: Any) -> nn.Module:
    """A model around the configurations of its parts; it takes those of ``TOKENS`` that it has."""
    config = CONFIG_MAPPING[kind]
    tokens = {item.name: TOKENS[item.name] for item in fields(config) if item.name in TOKENS}
    return model_class(kind_class)(config(text_config=text, vision_config=vision, **tokens, **further))


def with_pictures(ids: Tensor, count: int = 4) -> Tensor:
    """The ids with a picture of so many tokens from the third on."""
    ids = ids.clone()
    ids[ids == IMAGE] = 3
    ids[:, 2 : 2 + count] = IMAGE
    return ids


def noise(*shape: int) -> Tensor:
    """Pixels."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(4))


def patches(ids: Tensor) -> dict[str, Any]:
    """Each sequence with a picture of 4 by 4 patches that are merged to four tokens (the Qwen way)."""
    ids = with_pictures(ids)
    return {
        "input_ids": ids,
        "pixel_values": noise(32, 96),
        "image_grid_thw": torch.tensor([[1, 4, 4]] * 2),
        "mm_token_type_ids": (ids == IMAGE).int(),
    }


def squares(ids: Tensor) -> dict[str, Any]:
    """Each sequence with a picture of 16 by 16 pixels."""
    return {"input_ids": with_pictures(ids), "pixel_values": noise(2, 3, 16, 16)}


def qwen3_vl() -> nn.Module:
    vision = tiny_config("qwen3_vl_moe_vision", **QWEN_VISION, deepstack_visual_indexes=[0])
    text = tiny_config("qwen3_vl_moe_text", rope_parameters=MROPE)
    return composite("qwen3_vl_moe", "qwen3_vl_moe.Qwen3VLMoeForConditionalGeneration", text, vision)


def qwen3_5() -> nn.Module:
    vision = tiny_config("qwen3_5_moe_vision", **QWEN_VISION)
    text = tiny_config(
        "qwen3_5_moe_text", layer_types=["full_attention"] * 2, rope_parameters={**MROPE, "partial_rotary_factor": 1.0}
    )
    return composite(
        "qwen3_5_moe",
        "qwen3_5_moe.Qwen3_5MoeForConditionalGeneration",
        text,
        vision,
    )


def glm4v() -> nn.Module:
    vision = tiny_config(
        "glm4v_moe_vision", **{k: v for k, v in QWEN_VISION.items() if k != "num_position_embeddings"}, image_size=16
    )
    text = tiny_config(
        "glm4v_moe_text", first_k_dense_replace=1, rope_parameters={**MROPE, "partial_rotary_factor": 1.0}
    )
    return composite(
        "glm4v_moe",
        "glm4v_moe.Glm4vMoeForConditionalGeneration",
        text,
        vision,
    )


def llava() -> nn.Module:
    vision = CONFIG_MAPPING["clip_vision_model"](
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8,
        projection_dim=32,
    )  # fmt: skip
    return composite(
        "llava",
        "llava.LlavaForConditionalGeneration",
        tiny_config("mixtral"),
        vision,
        image_seq_length=4,
    )


def llama4() -> nn.Module:
    vision = CONFIG_MAPPING["llama4_vision_model"](
        hidden_size=32, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=4,
        vision_output_dim=32, projector_input_dim=32, projector_output_dim=32,
    )  # fmt: skip
    return composite("llama4", "llama4.Llama4ForConditionalGeneration", tiny_config("llama4_text"), vision)


def ernie() -> nn.Module:
    vision = CONFIG_MAPPING["ernie4_5_vl_moe_vision"](
        depth=1, hidden_size=32, intermediate_size=48, num_heads=2, patch_size=4
    )
    text = tiny_config(
        "ernie4_5_vl_moe_text",
        moe_intermediate_size=[24, 16],
        mlp_layer_types=["sparse"] * 2,
        rope_parameters={k: v for k, v in MROPE.items() if k != "mrope_interleaved"},
    )
    return composite(
        "ernie4_5_vl_moe",
        "ernie4_5_vl_moe.Ernie4_5_VLMoeForConditionalGeneration",
        text,
        vision,
    )


def ernie_patches(ids: Tensor) -> dict[str, Any]:
    given = patches(ids)
    given["pixel_values"] = noise(32, 48)
    given["moe_mm_token_type_ids"] = given["mm_token_type_ids"]
    return given


def dots3_note() -> nn.Module:
    """A tower with experts of its own, in numbers that differ from layer to layer."""
    vision = CONFIG_MAPPING["dots3_note_vision_encoder"](
        hidden_size=32, intermediate_size=48, moe_intermediate_size=24, num_hidden_layers=3, num_attention_heads=4, patch_size=4,
        adapter_in_dim=32, adapter_out_dim=32, pyramid_num_routed=[-1, 1, 6], num_experts_per_tok=2,
    )  # fmt: skip
    audio = CONFIG_MAPPING["dots3_note_audio_encoder"](
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, downsample_hidden_size=8,
        adapter_input_size=32, adapter_out_dim=32,
    )  # fmt: skip
    return composite(
        "dots3_note", "dots3_note.Dots3NoteForConditionalGeneration", tiny_config("dots3_note_text"), vision,
        audio_config=audio, audio_token_id=94,
    )  # fmt: skip


def dots_patches(ids: Tensor) -> dict[str, Any]:
    """Pixels without a time axis."""
    return {**patches(ids), "pixel_values": noise(32, 48)}


def diffusion_gemma() -> nn.Module:
    text = tiny_config("diffusion_gemma_text", layer_types=["full_attention"] * 2)
    vision = CONFIG_MAPPING["gemma4_vision"](
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, head_dim=16,
        patch_size=4, pooling_kernel_size=2, position_embedding_size=64,
    )  # fmt: skip
    return composite(
        "diffusion_gemma", "diffusion_gemma.DiffusionGemmaForBlockDiffusion", text, vision, canvas_length=6
    )


def canvas(ids: Tensor) -> dict[str, Any]:
    """A prompt, and the canvas whose tokens are refined together."""
    return {"input_ids": ids, "decoder_input_ids": some_ids(2, 6, seed=5)}


def kimi_patches(ids: Tensor) -> dict[str, Any]:
    """Pixels as squares."""
    return {**patches(ids), "pixel_values": noise(32, 3, 4, 4)}


def kimi() -> nn.Module:
    vision = CONFIG_MAPPING["kimi_k25_vision"](
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, patch_size=4, pos_emb_height=4,
        pos_emb_width=4, pos_emb_time=1,
    )  # fmt: skip
    text = tiny_config("deepseek_v3", num_hidden_layers=2, first_k_dense_replace=1)
    return composite("kimi_k25", "kimi_k25.Kimi_K25ForConditionalGeneration", text, vision, projection_hidden_size=32)


def by_modality(path: str, given: dict[str, Any]) -> Tensor:
    """Which rows a pool of experts sees."""
    pictured = given["input_ids"].flatten() == IMAGE
    return pictured if "vision_moe" in path else ~pictured


def ernie_logits(given: Sequence[Tensor]) -> list[Tensor]:
    """One tensor a layer holds the logits of both pools, each in its rows."""
    pictured = with_pictures(some_ids()).flatten() == IMAGE
    return [merged[rows] for merged in given for rows in (~pictured, pictured)]


VISION = Layer(score="sigmoid+bias", stream="vision", own_logits=False)
GEMMA = {"post_scale": nan, "own_logits": False}

COMPOSITES = (
    Family(
        "dots3_note pictures",
        (DEEPSEEK, replace(VISION, experts=1, top_k=1), replace(VISION, experts=6)),
        make=dots3_note,
        inputs=dots_patches,
        note="its tower has experts too, in numbers that differ from layer to layer",
    ),
    Family(
        "diffusion_gemma",
        (Layer(stream="encoder", **GEMMA),) * 2 + (Layer(stream="decoder", **GEMMA),) * 2,
        make=diffusion_gemma,
        inputs=canvas,
        reach="sequence",
        note=f"a prompt and a canvas, with weights in common; {POST_NORM}",
    ),
    Family("kimi_k25", (replace(DEEPSEEK, own_logits=False),), make=kimi, inputs=kimi_patches),
    Family("qwen3_vl_moe pictures", (Layer(),) * 2, make=qwen3_vl, inputs=patches),
    Family("qwen3_5_moe pictures", (Layer(shared=1),) * 2, make=qwen3_5, inputs=patches),
    Family("glm4v_moe pictures", (Layer(score="sigmoid+bias, 2 of 4 groups", shared=1),), make=glm4v, inputs=patches),
    Family("llava mixtral", (Layer(own_logits=False),) * 2, make=llava, inputs=squares),
    Family(
        "llama4 pictures",
        (Layer(score="logits", shared=1, adapter="llama4"),) * 2,
        make=llama4,
        watching=oracles.watcher("Llama4TextMoe", oracles.llama4),
        inputs=squares,
    ),
    Family(
        "ernie4_5_vl_moe pictures",
        (Layer(score="softmax+bias", shared=2),) * 4,
        make=ernie,
        inputs=ernie_patches,
        rows=by_modality,
        own=ernie_logits,
        note="text and pictures have experts of their own: two layers, each absent at the other's tokens",
    ),
)
