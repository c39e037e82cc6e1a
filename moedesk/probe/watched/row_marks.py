"""A number for a token row by which it is known again, bit by bit, wherever it turns up."""

from functools import cache

import torch
from torch import Tensor

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def row_marks(rows: Tensor) -> Tensor:
    """Return (N,) int64 numbers of (N, H) float rows: the same for the same bits, 0 for zeros, else different but for a chance
    of 2⁻⁶⁴ or so; exact, since integers add up the same in any order.
    """
    bits = rows.detach().contiguous().view(_INTEGERS[rows.element_size()]).long()
    return (bits * _factors(bits.shape[-1], bits.device)).sum(-1)


@cache
def _factors(width: int, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(20240611)
    return (torch.randint(-(1 << 62), 1 << 62, (width,), generator=generator) | 1).to(device)
