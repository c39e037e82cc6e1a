"""The factor that a block applies after its experts, measured from one call."""

from collections.abc import Sequence
from math import nan

import torch
from torch import Tensor

ROWS = 64
"""Token rows that are kept for the measurement."""


def sample_rows(output: Tensor, rows: int) -> Tensor | None:
    """Return a float32 copy of the first token rows of a (…, H) output with ``rows`` rows in all, or None if it has others."""
    if output.ndim < 2 or not output.is_floating_point() or output.numel() != rows * output.shape[-1]:
        return None
    return output.detach().reshape(rows, -1)[:ROWS].to(torch.float32, copy=True)


def measure_scale(experts: Tensor, block: Tensor, others: Sequence[Tensor], dtype: torch.dtype) -> float:
    """Solve ``block = a·experts + Σ c_i·others_i`` for each token row and return a, or NaN.

    NaN where a differs between tokens or the equation does not hold: then what follows the experts is not linear (a norm, a
    projection, dropout) or not seen.

    Parameters
    ----------
    experts, block : (R, H) float32
        Outputs of the experts and of the block around them.
    others : sequence of (R, H) float32
        Outputs of the shared experts.
    dtype : torch.dtype
        What the model computes in: sets the tolerance.
    """
    tolerance = max(1e-3, 4 * torch.finfo(dtype).eps)
    inputs = torch.stack([experts, *others], dim=-1).double()  # (R, H, 1 + others)
    alive = experts.norm(dim=-1) > 1e-6 * experts.norm(dim=-1).amax()
    if not bool(alive.any()) or not bool(torch.isfinite(inputs).all() & torch.isfinite(block).all()):
        return nan
    inputs, target = inputs[alive], block[alive].double().unsqueeze(-1)
    if inputs.shape[-1] >= inputs.shape[-2]:
        return nan
    solution = torch.linalg.lstsq(inputs.cpu(), target.cpu()).solution
    error = (inputs.cpu() @ solution - target.cpu()).norm(dim=(-2, -1))
    factors = solution[:, 0, 0]
    factor = float(factors.median())
    if bool((error > tolerance * target.cpu().norm(dim=(-2, -1))).any()):
        return nan
    if bool(((factors - factor).abs() > 4 * tolerance * abs(factor)).any()):
        return nan
    return round(factor, 6 if dtype == torch.float32 else 2)
