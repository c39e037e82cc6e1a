"""What a tiny family is: how to build it, and what each of its MoE layers must look like. Written by hand, from the sources."""

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

SIZES: Mapping[str, Any] = {
    "vocab_size": 101, "hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8, "num_experts": 8, "num_local_experts": 8,
    "n_routed_experts": 8, "moe_num_experts": 8, "num_experts_per_tok": 2, "moe_k": 2, "moe_topk": 2, "top_k_experts": 2,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "n_group": 4, "topk_group": 2, "n_shared_experts": 1, "shared_expert_intermediate_size": 24,
    "shared_intermediate_size": 24, "dense_intermediate_size": 48, "sliding_window": 16,
    "index_topk": 64, "index_head_dim": 16, "index_n_heads": 2, "linear_head_dim": 8, "linear_num_heads": 2,
    "linear_conv_kernel_dim": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
}  # fmt: skip
"""Names that configurations give their sizes; a configuration takes those that it has."""


@dataclass(frozen=True)
class Layer:
    """What one MoE layer must look like.

    Attributes
    ----------
    experts, top_k, shared, score, stream, post_scale, selection, identity, adapter
        As in ``LayerInfo``.
    own_logits : bool
        Whether the model returns this layer's logits as ``router_logits``.
    """

    experts: int = 8
    top_k: int = 2
    shared: int = 0
    score: str = "softmax"
    stream: str = "main"
    post_scale: float = 1.0
    selection: str = "token choice"
    identity: int = 0
    adapter: str = ""
    own_logits: bool = True


@dataclass(frozen=True)
class Family:
    """A tiny model of one family.

    Attributes
    ----------
    name : str
        As in ``transformers.models``, with the variant behind it.
    layers : tuple of Layer
        MoE layers that run, in the order of the model.
    config : mapping
        What differs from ``SIZES``.
    model_type : str
        Of the configuration; the name if empty.
    model_class : str
        ``module.Class`` below ``transformers.models``; the causal language model if empty.
    inputs : function or None
        Makes a forward's arguments from token ids; ``input_ids`` alone if None.
    make : function or None
        Makes the model from nothing, where the configuration takes more than ``config``.
    watching : context manager of a model, or None
        Sees its experts' calls; None if they are called with token rows, ids and weights.
    rows : function or None
        Takes the path of an experts module and a forward's arguments; returns which rows it sees. All if None.
    tells_logits : bool
        Whether it takes ``output_router_logits``.
    own : function
        Makes (N, E) logits, in the order of the layers, of what it calls its router logits.
    reach : str
        Which rows a change of a token may change: its own and later ones ("token"), those of its sequence, or of its batch.
    note : str
        What is special about it, for docs/families.md.
    """

    name: str
    layers: tuple[Layer, ...]
    config: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    model_type: str = ""
    model_class: str = ""
    inputs: Callable[[torch.Tensor], dict[str, Any]] | None = None
    make: Callable[[], nn.Module] | None = None
    watching: Any = None
    rows: Callable[[str, dict[str, Any]], torch.Tensor] | None = None
    tells_logits: bool = True
    own: Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]] = tuple
    reach: str = "token"
    note: str = ""

    def build(self, **changes: Any) -> nn.Module:
        """The tiny model in evaluation mode; the same weights each time."""
        torch.manual_seed(0)
        if self.make is not None:
            model = self.make()
        else:
            config = tiny_config(self.model_type or self.name, **{**self.config, **changes})
            model = model_class(self.model_class)(config) if self.model_class else from_config(config)
        spread(model)
        return model.eval()

    def arguments(self, ids: torch.Tensor) -> dict[str, Any]:
        """A forward's arguments for some token ids."""
        return self.inputs(ids) if self.inputs else {"input_ids": ids}


def tiny_config(model_type: str, **changes: Any) -> Any:
    """The configuration of a family with small sizes."""
    kind = CONFIG_MAPPING[model_type]
    known = {item.name for item in dataclasses.fields(kind)}
    return kind(**{**{name: value for name, value in SIZES.items() if name in known}, **changes})


def from_config(config: Any) -> nn.Module:
    """The causal language model of a configuration."""
    return AutoModelForCausalLM.from_config(config)


def model_class(name: str) -> Any:
    """The class called ``module.Class`` below ``transformers.models``."""
    module, _, kind = name.rpartition(".")
    return getattr(importlib.import_module(f"transformers.models.{module}.modeling_{module}"), kind)


_ROUTING = ("gate", "router", "expert", "correction", "balanc", "proj", "keys")


def spread(model: nn.Module) -> None:
    """Make routers decide differently for different tokens, and selection biases change the choice."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("tid2eid"):  # a table of distinct experts for each token id
                tensor.copy_(torch.rand(len(tensor), 8, generator=generator).argsort(-1)[:, : tensor.shape[1]])
            if not tensor.is_floating_point() or "norm" in name:
                continue
            if "bias" in name and any(word in name for word in ("gate", "router", "correction", "expert", "balanc")):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.2)
                if name.endswith("balancing_biases"):  # its last class, skip, is to be chosen now and then
                    tensor[-1] = 0.6
            elif tensor.ndim >= 2 and any(word in name for word in _ROUTING):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)


def some_ids(batch: int = 2, length: int = 9, seed: int = 3) -> torch.Tensor:
    """(batch, length) token ids without special ones."""
    return torch.randint(3, 100, (batch, length), generator=torch.Generator().manual_seed(seed))
