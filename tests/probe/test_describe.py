"""The description of a model against the model."""

import json
from typing import Any

import torch
from torch import nn

from moedesk.core.model import ModelInfo
from moedesk.probe.finding.describe import describe_model
from tests.support.families import build, some_ids
from tests.support.gathered import gather


def recorded(model: nn.Module, **inputs: Any) -> ModelInfo:
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        model(some_ids(), **inputs)
    assert recording.model == gathered.model
    return gathered.model


def test_the_tree_is_the_models(olmoe: nn.Module) -> None:
    info = recorded(olmoe)
    modules = dict(olmoe.named_modules())
    assert [module.path for module in info.modules] == list(modules)
    for place, module in enumerate(info.modules):
        real = modules[module.path]
        assert module.class_name == type(real).__name__
        assert module.parameters == sum(p.numel() for p in set(real.parameters()))
        assert module.own_parameters == sum(p.numel() for p in real.parameters(recurse=False))
        assert module.parent < place
        if place:
            parent = info.modules[module.parent]
            assert modules[parent.path]._modules[module.name] is real
    assert info.parameters == sum(p.numel() for p in olmoe.parameters())
    assert (info.dtype, info.device, info.class_name) == ("float32", "cpu", "OlmoeForCausalLM")


def test_kinds_and_layers(olmoe: nn.Module) -> None:
    info = recorded(olmoe)
    module = {module.path: module for module in info.modules}
    kinds = {
        "model.embed_tokens": "embedding", "model.layers.1.mlp": "moe", "model.layers.1.mlp.gate": "router",
        "model.layers.1.mlp.experts": "experts", "model.layers.1.self_attn": "attention", "model.norm": "norm",
        "lm_head": "linear", "model.layers": "module",
    }  # fmt: skip
    assert {path: module[path].kind for path in kinds} == kinds
    assert module["model.layers.1.mlp.experts"].layer == 1
    assert module["model.layers.1.self_attn"].layer == -1
    assert module["model.layers.0.mlp.experts"].shapes == "gate_up_proj 8×96×32, down_proj 8×32×48"


def test_experts_that_are_modules_of_their_own_and_shared_ones(family: Any) -> None:
    switch = recorded(family("switch_transformers"), decoder_input_ids=some_ids(2, 3))
    experts = [module for module in switch.modules if module.kind == "expert"]
    assert len(experts) == 4 * len(switch.layers)
    deepseek = recorded(family("deepseek_v3"))
    assert [module.path for module in deepseek.modules if module.kind == "shared"] == [
        f"{layer.path}.shared_experts" for layer in deepseek.layers
    ]


def test_tied_parameters_count_once_and_mixed_types_are_said() -> None:
    model = build("mixtral", tie_word_embeddings=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.model.norm.to(torch.bfloat16)
    info = describe_model(model, ())
    assert info.parameters == sum(p.numel() for p in model.parameters())
    assert info.dtype == "mixed"


def test_the_configuration_is_plain_json(olmoe: nn.Module) -> None:
    info = recorded(olmoe)
    assert json.loads(json.dumps(dict(info.config))) == info.config
    assert info.config["num_experts_per_tok"] == 2
    assert info.versions["torch"] == torch.__version__
