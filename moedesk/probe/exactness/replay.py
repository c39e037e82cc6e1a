"""What a layer's experts return, computed again from captured ids and weights, one slot at a time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

RunExperts = Callable[[Tensor, Tensor], Tensor]
"""Runs a layer's experts on the token rows of a call with other (N, k) ids and weights; returns (N, H)."""


@dataclass(frozen=True)
class Replay:
    """``Σ_k w_k · E_{i_k}(x)`` of each token row, on the host.

    Attributes
    ----------
    total : (N, H) float64
    sizes : (N, k) float64
        Largest absolute value that each slot adds.
    """

    total: Tensor
    sizes: Tensor

    @property
    def scale(self) -> Tensor:
        """(N,) what errors are measured by: the largest values that the slots could add up to."""
        return self.sizes.sum(-1)


def replay(run: RunExperts, ids: Tensor, weights: Tensor) -> Replay:
    """Run the experts once for each slot, with weight 1 in it and 0 in the others, and add up with the captured weights.

    Parameters
    ----------
    run : function
    ids : (N, k) int64
        As captured; -1 for a slot without an expert.
    weights : (N, k) float
    """
    total: Tensor | None = None
    sizes = []
    for slot in range(ids.shape[1]):
        alone = torch.zeros_like(weights)
        alone[:, slot] = 1
        output = run(ids, alone).detach().cpu().double()
        weight = weights[:, slot].cpu().double().unsqueeze(-1)
        part = torch.where(weight == 0, 0.0, weight * output)
        total = part if total is None else total + part
        sizes.append(part.abs().amax(-1))
    assert total is not None
    return Replay(total, torch.stack(sizes, -1))


def relative_errors(found: Tensor, expected: Tensor, scale: Tensor) -> Tensor:
    """Return (N,) the largest difference in each row over the row's scale; NaN and infinities count as equal to themselves."""
    found = found.detach().cpu().double()
    alike = (found == expected) | (~torch.isfinite(found) & ~torch.isfinite(expected))
    apart = torch.where(alike, 0.0, (found - expected).abs()).amax(-1)
    return torch.where(apart == 0, 0.0, torch.nan_to_num(apart / scale, nan=float("inf")))


def without_others(rest: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Return (N, H) what is left of each row when as much as possible of the others' rows, each times a factor, is taken away."""
    if not others:
        return rest
    columns = torch.stack(tuple(others), -1)
    return rest - (columns @ torch.linalg.lstsq(columns, rest.unsqueeze(-1)).solution).squeeze(-1)


def tolerance_of(dtype: torch.dtype, top_k: int, longest: int) -> float:
    """Return the largest error, relative to ``Replay.scale``, that rounding explains.

    ``(k + 2)·ε + 2·√n·ε_acc``: the experts module rounds each expert's output, its product with the weight and each partial
    sum, at most (k + 2) roundings to a dtype with machine epsilon ε (Higham, Accuracy and Stability of Numerical Algorithms,
    2002, §3.1: γ_n = n·u/(1 - n·u), here with 2u = ε); and a matrix product over n terms may add up in another order, which
    moves it by √n·ε_acc at most with high probability (Higham & Mary 2019, A New Approach to Probabilistic Rounding Error
    Analysis), for the two products of an expert. ε_acc is that of float32, of the dtype if that is wider, and 2^-10 (TF32)
    where float32 products may be rounded.

    Parameters
    ----------
    dtype : torch.dtype
        Of the experts' output.
    top_k : int
    longest : int
        Terms in the longest matrix product.
    """
    return (top_k + 2) * torch.finfo(dtype).eps + 2 * sqrt(longest) * accumulated_eps(dtype)


def accumulated_eps(dtype: torch.dtype) -> float:
    """Return the machine epsilon of what products of a dtype are summed in, see ``tolerance_of``."""
    if dtype == torch.float32 and _rounds_products():
        return 2.0**-10
    return min(torch.finfo(torch.float32).eps, torch.finfo(dtype).eps)


def longest_product(modules: Iterable[nn.Module]) -> int:
    """Return the longest side of the matrices in some modules, which no product in them is longer than."""
    sides = [max(p.shape[-2:]) for module in modules for p in module.parameters() if p.ndim >= 2]
    return max(sides, default=1)


def _rounds_products() -> bool:
    try:
        return torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:  # set in parts, by the newer switches: it may be
        return True
