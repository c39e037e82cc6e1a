"""Blocks that route inside a kernel are refused by name when attaching, and nothing stays on the model."""

from types import MethodType
from typing import Any

import pytest
from torch import nn

from moedesk.core.errors import MoedeskError
from tests.support.families import build
from tests.support.gathered import gather


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_mxfp4_is_refused_but_for_expert_parallelism() -> None:
    """Under expert parallelism the block calls its router and experts, as its source says."""
    from transformers.integrations.mxfp4 import Mxfp4GptOssMLP

    model: Any = build("gpt_oss")
    for layer in model.model.layers:
        layer.mlp = Mxfp4GptOssMLP(layer.mlp.router, layer.mlp.experts)
    with pytest.raises(MoedeskError, match=r"layers\.0\.mlp \(Mxfp4GptOssMLP\) can't be read.*dequantize=True"):
        gather(model)[0].__enter__()
    assert not hooks(model)
    for layer in model.model.layers:
        layer.mlp.experts._is_hooked = True
    with gather(model)[0]:
        assert hooks(model)


def test_a_megablocks_forward_is_refused() -> None:
    class MegaBlocksMoeMLP(nn.Module):
        def forward(self, hidden: Any) -> Any:
            return hidden

    model: Any = build("gpt_oss")
    block = model.model.layers[1].mlp
    block.forward = MethodType(MegaBlocksMoeMLP.forward, block)
    with pytest.raises(MoedeskError, match=r"layers\.1\.mlp \(GptOssMLP\) can't be read.*use_kernels=False"):
        gather(model)[0].__enter__()
    assert not hooks(model)
