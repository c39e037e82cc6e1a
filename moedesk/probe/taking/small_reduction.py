"""What ``reduction`` does, for the few rows of a decoding pass on the host: in NumPy, which keeps the interpreter's lock.

PyTorch gives the lock away and takes it back in every operation. On the courier's thread that makes the model's thread, which
does the same all the time, wait for dozens of handovers a pass; together they cost ten times what the work itself does.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from moedesk.probe.finding.ranking import Rule

SMALL = 1 << 16
"""Logits of all layers together up to which a pass is small: a fraction of a millisecond's work."""

Floats = npt.NDArray[np.float32]

_KNOWN = {"softmax", "sigmoid", "logits"}
_PLAIN = {torch.float32, torch.float16, torch.float64}
_TINY = np.finfo(np.float32).tiny


def is_small(elements: int, rule: Rule | None) -> bool:
    """Return whether layers with so many logits together are better reduced here."""
    known = rule is None or (rule.transform in _KNOWN and not rule.groups)
    return known and elements <= SMALL


def floats(tensor: Tensor) -> Floats:
    """Return float32 values of a tensor on the host."""
    if tensor.dtype not in _PLAIN:  # bfloat16 is unknown to NumPy
        tensor = tensor.float()
    values: Floats = tensor.numpy().astype(np.float32, copy=False)
    return values


def to_logits(probabilities: Floats) -> Floats:
    """Return what ``probabilities.to_logits`` does: logits whose softmax they are."""
    logits: Floats = np.log(np.maximum(probabilities, _TINY))
    return logits


def entropies(logits: Floats) -> tuple[Floats, Floats]:
    """Return what ``ranking.entropies`` does: (…,) entropies of softmax(logits) in nats, and the (…, E) softmax."""
    with np.errstate(invalid="ignore", over="ignore"):
        below = logits - logits.max(-1, keepdims=True)
        shares = np.exp(below)
        total = shares.sum(-1, keepdims=True)
        shares /= total
        np.maximum(below, -1e4, out=below)
        below *= shares
        entropy: Floats = np.log(total[..., 0]) - below.sum(-1)
    return entropy, shares


def margins(scores: Floats, ids: npt.NDArray[np.signedinteger]) -> Floats:
    """Return what ``ranking.margins`` does: the lowest score chosen minus the highest not chosen."""
    dropped = ids.min(-1) < 0
    places = ids.astype(np.int64)
    if dropped.any():
        np.maximum(places, 0, out=places)
    with np.errstate(invalid="ignore"):
        lowest = np.take_along_axis(scores, places, -1).min(-1)
        other = scores.copy()
        np.put_along_axis(other, places, -np.inf, -1)
        highest = other.max(-1)
        margin: Floats = lowest - highest
    margin[dropped | (highest == -np.inf)] = np.nan
    return margin


def scores(rule: Rule, logits: Floats, bias: Floats | None, shares: Floats) -> Floats:
    """Return what the rule ranks by, for the transforms that ``is_small`` lets through."""
    values: Floats = logits
    if rule.transform == "softmax":
        values = shares
    elif rule.transform == "sigmoid":
        with np.errstate(over="ignore"):
            values = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return values + bias if rule.biased and bias is not None else values
