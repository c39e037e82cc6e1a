"""Probabilities that a router hands out in place of logits."""

import torch
from torch import Tensor


def to_logits(probabilities: Tensor) -> Tensor:
    """Return float32 logits whose softmax is ``probabilities``."""
    return probabilities.float().clamp_min(torch.finfo(torch.float32).tiny).log()


def are_probabilities(logits: Tensor) -> bool:
    """Whether every row is a distribution (gemma4 calls its probabilities logits)."""
    values = logits.float()
    tolerance = max(1e-4, 4 * torch.finfo(logits.dtype).eps)
    return bool((values >= 0).all()) and bool(((values.sum(-1) - 1).abs() < tolerance).all())
