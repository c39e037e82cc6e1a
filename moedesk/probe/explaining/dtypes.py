"""The dtypes of a model's parameters."""

import torch
from torch import nn


def widest(model: nn.Module) -> torch.dtype:
    """Return the dtype in which most of a model is, by its parameters; float32 if it has none."""
    sizes: dict[torch.dtype, int] = {}
    for parameter in model.parameters():
        if parameter.is_floating_point():
            sizes[parameter.dtype] = sizes.get(parameter.dtype, 0) + parameter.numel()
    return max(sizes, key=lambda dtype: sizes[dtype], default=torch.float32)


def dtypes_of(model: nn.Module) -> str:
    """Return the dtypes of a model's parameters."""
    return ", ".join(sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters()}))
