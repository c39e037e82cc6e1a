"""Families whose choice is corrected by a bias, while the weights come from the scores without it."""

from math import nan

from tests.support.families.family import Family, Layer
from tests.support.families.plain import ATTENTION, SPARSE

SIGMOID = Layer(score="sigmoid+bias")

BIASED = (
    Family("afmoe", (Layer(score="sigmoid+bias", shared=2),)),
    Family(
        "deepseek_v4",
        (
            Layer(score="hash", selection="hash", shared=1, own_logits=False),
            Layer(score="sqrt(softplus)+bias", shared=1),
        ),
        {"mlp_layer_types": ["hash_moe", "moe"]},
        note="its first layers look the experts of a token id up; their logits only weigh",
    ),
    Family("ernie4_5_moe", (Layer(score="softmax+bias", shared=2),) * 2, {"moe_layer_start_index": 0}),
    Family(
        "ernie4_5_vl_moe",
        (Layer(score="softmax+bias", shared=2),) * 2,
        {
            "moe_intermediate_size": [24, 16],
            "mlp_layer_types": SPARSE,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
        },
        model_type="ernie4_5_vl_moe_text",
        model_class="ernie4_5_vl_moe.Ernie4_5_VLMoeTextModel",
    ),
    Family("hy_v3", (Layer(score="sigmoid+bias", shared=1),) * 2, {"mlp_layer_types": SPARSE}),
    Family(
        "inkling",
        (Layer(score="sigmoid+bias", shared=2),) * 2,
        {
            "d_rel": 4,
            "rel_extent": 16,
            "n_shared_experts": 2,
            "swa_num_attention_heads": 4,
            "swa_num_key_value_heads": 4,
            "swa_head_dim": 8,
            "sliding_window_size": 16,
        },
        model_type="inkling_text",
    ),
    Family(
        "inkling2",
        (Layer(score="sigmoid+bias"),) * 2,
        {
            "d_rel": 4,
            "rel_extent": 16,
            "swa_num_attention_heads": 4,
            "swa_num_key_value_heads": 4,
            "swa_head_dim": 8,
            "sliding_window_size": 16,
        },
        model_type="inkling2_text",
    ),
    Family("kolibri1", (Layer(score="logits+bias", shared=1),) * 2),
    Family(
        "laguna",
        (Layer(score="sigmoid+bias", shared=1, post_scale=2.5),) * 2,
        {"mlp_layer_types": SPARSE, "moe_routed_scaling_factor": 2.5},
    ),
    Family("lfm2_moe", (SIGMOID,), {"num_dense_layers": 1, "layer_types": ATTENTION}),
    Family(
        "longcat_flash",
        (Layer(score="softmax+bias", experts=12, top_k=3, identity=4),) * 2,
        {"num_layers": 2, "ffn_hidden_size": 48, "expert_ffn_hidden_size": 24, "zero_expert_num": 4, "moe_topk": 3},
    ),
    Family("minimax_m2", (SIGMOID,) * 2),
    Family(
        "minimax_m3_vl",
        (Layer(score="sigmoid+bias", shared=1, post_scale=2.0),) * 2,
        {"mlp_layer_types": SPARSE, "rotary_dim": 8},
        model_type="minimax_m3_vl_text",
    ),
    Family(
        "muse_spark",
        (Layer(score="sigmoid+bias", post_scale=nan),) * 2,
        {"mlp_layer_types": SPARSE, "moe_hidden_size": 16},
        model_type="muse_spark_text",
        model_class="muse_spark.MuseSparkTextModel",
    ),
    Family(
        "step3p7",
        (Layer(score="sigmoid+bias", shared=1, post_scale=3.0),) * 2,
        {"mlp_layer_types": SPARSE, "moe_router_scaling_factor": 3.0},
        model_type="step3p5",
        model_class="step3p7.Step3p7TextModel",
    ),
)
