"""Families that choose groups of experts first, and experts among those."""

from math import nan

from tests.support.families.family import Family, Layer
from tests.support.families.plain import ATTENTION, SPARSE

DEEPSEEK = Layer(score="sigmoid+bias, 2 of 4 groups", shared=1)
SOFTMAX = Layer(score="softmax, 2 of 4 groups", shared=1)
HALF = ["dense", "sparse"]
M = {"mlp_layer_types": HALF}

GROUPED = (
    Family("axk1", (Layer(score="sigmoid+bias, 2 of 4 groups", shared=1, post_scale=nan),), M),
    Family("axk2", (DEEPSEEK,), M),
    Family("bailing_hybrid", (DEEPSEEK,), {**M, "layer_types": ["linear_attention", "full_attention"]}),
    Family("beam", (Layer(score="sigmoid+bias, 2 of 4 groups", shared=0, post_scale=2.5),), {"num_hidden_layers": 4}),
    Family("deepseek_v2", (Layer(shared=1),) * 2, {"first_k_dense_replace": 0}),
    Family(
        "deepseek_v2 grouped",
        (SOFTMAX,) * 2,
        {"first_k_dense_replace": 0, "topk_method": "group_limited_greedy"},
        model_type="deepseek_v2",
    ),
    Family("deepseek_v3", (DEEPSEEK,) * 2, {"num_hidden_layers": 3, "first_k_dense_replace": 1}),
    Family("deepseek_v32", (DEEPSEEK,) * 2, {"num_hidden_layers": 3, "first_k_dense_replace": 1}),
    Family("dots1", (DEEPSEEK,) * 1, {"first_k_dense_replace": 1}),
    Family("dots3_note", (DEEPSEEK,), {}, model_type="dots3_note_text"),
    Family("exaone_moe", (Layer(score="sigmoid+bias, 2 of 4 groups", shared=1),), M),
    Family("glm4_moe", (DEEPSEEK,), {"first_k_dense_replace": 1}),
    Family("glm4_moe_lite", (DEEPSEEK,), M),
    Family(
        "glm4v_moe",
        (DEEPSEEK,),
        {
            "first_k_dense_replace": 1,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [1, 1, 2],
                "partial_rotary_factor": 1.0,
            },
        },
        model_type="glm4v_moe_text",
        model_class="glm4v_moe.Glm4vMoeTextModel",
    ),
    Family(
        "glm5_next",
        (DEEPSEEK,),
        {**M, "qk_rope_head_dim": 0, "head_dim": 0, "layer_types": ["linear_attention", "full_attention"]},
        model_type="glm5_next_text",
        model_class="glm5_next.Glm5NextTextModel",
    ),
    Family("glm_moe_dsa", (DEEPSEEK,), M),
    Family("hy_v4", (DEEPSEEK,), M),
    Family("kimi_linear", (DEEPSEEK,), {**M, "layer_types": ["linear_attention", "full_attention"]}),
    Family("mimo_v2_flash", (Layer(score="sigmoid+bias, 2 of 4 groups"),), {**M, "layer_types": ATTENTION}),
    Family("mistral4", (SOFTMAX,) * 2, model_class="mistral4.Mistral4ForCausalLM"),
    Family(
        "mistral_large4",
        (SOFTMAX,),
        M,
        model_type="mistral_large4_text",
        model_class="mistral_large4.MistralLarge4TextModel",
    ),
    Family(
        "nemotron_h",
        (DEEPSEEK,),
        {
            "layers_block_type": ["full_attention", "moe"],
            "moe_shared_expert_intermediate_size": 24,
            "use_mamba_kernels": False,
        },
    ),
    Family("solar_open", (DEEPSEEK,) * 2),
    Family(
        "deepseek_ocr2",
        (Layer(shared=1),) * 2,
        {"mlp_layer_types": SPARSE},
        model_type="deepseek_ocr2_text",
        model_class="deepseek_ocr2.DeepseekOcr2TextModel",
    ),
    Family(
        "unlimited_ocr",
        (Layer(shared=1),) * 2,
        {"mlp_layer_types": SPARSE},
        model_type="unlimited_ocr_text",
        model_class="unlimited_ocr.UnlimitedOcrTextModel",
    ),
)
