"""The published selection rules, written once more: in NumPy, from the papers and the label, without moedesk's code."""

import re
from typing import Any

import numpy as np
from torch import nn

BEST_OF_GROUP = ("DeepseekV2",)
"""Blocks that rank a group by its best expert (DeepSeek-V2, eq. 16 to 18), others by the sum of its two best (DeepSeek-V3)."""


def published_choice(layer: Any, logits: np.ndarray, block: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """(N, E) scores, -inf where an expert is no candidate, and the (N, k) experts that a label chooses."""
    formula, _, groups = layer.score.partition(", ")
    transform, _, bias = formula.partition("+")
    scores = TRANSFORMS[transform](logits.astype(np.float64))
    if bias:
        scores = scores + find_bias(block, layer.experts)
    if groups:
        kept, count = map(int, re.findall(r"\d+", groups))
        grouped = scores.reshape(len(scores), count, -1)
        best = -np.sort(-grouped, axis=2)
        rank = best[:, :, 0] if layer.block.startswith(BEST_OF_GROUP) else best[:, :, :2].sum(2)
        allowed = np.zeros((len(scores), count), bool)
        np.put_along_axis(allowed, np.argsort(-rank, axis=1)[:, :kept], True, 1)
        scores = np.where(np.repeat(allowed, layer.experts // count, axis=1), scores, -np.inf)
    return scores, np.argsort(-scores, axis=1)[:, : layer.top_k]


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def root_softplus(logits: np.ndarray) -> np.ndarray:
    return np.sqrt(np.log1p(np.exp(logits)))


TRANSFORMS = {
    "softmax": softmax, "sigmoid": sigmoid, "logits": lambda logits: logits, "sqrt(softplus)": root_softplus,
}  # fmt: skip


def find_bias(block: nn.Module, experts: int) -> np.ndarray:
    """The one bias of E numbers that a block has outside its experts."""
    found = [
        tensor
        for name, tensor in [*block.named_buffers(), *block.named_parameters()]
        if tensor.numel() == experts and ("bias" in name or "balanc" in name) and not name.startswith("experts.")
    ]
    assert len(found) == 1, [tuple(tensor.shape) for tensor in found]
    return found[0].detach().double().numpy().reshape(-1)
