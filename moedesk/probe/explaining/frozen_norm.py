"""A norm as the linear map that it is for one token, once the size it divides by is taken for given."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class FrozenNorm:
    """``gain · (x - mean(x)) · scale + bias`` of each row, or without the mean.

    Attributes
    ----------
    output : Tensor
        Of the norm, with its very values, and the gradient of this map.
    bias : Tensor or None
        What is added, with a gradient; None if nothing is.
    """

    output: Tensor
    bias: Tensor | None


def frozen(module: nn.Module, given: Tensor, output: Tensor) -> FrozenNorm | None:
    """Return a norm's output as a linear map of what it was given; None if it isn't one.

    Which kind of norm it is shows in its numbers: gain ``weight``, ``1 + weight`` or 1; with or without the mean taken off. The
    scale of each row is the one that gives the output; it must do so within rounding in the last row.

    Parameters
    ----------
    module : Module
    given, output : (…, H) tensors
    """
    if given.shape != output.shape or not output.is_floating_point():
        return None
    weight, bias = _vector(module, "weight", given), _vector(module, "bias", given)
    x = given.float() if given.dtype in (torch.float16, torch.bfloat16) else given
    with torch.no_grad():
        target = output.to(x.dtype) - (0 if bias is None else bias.to(x.dtype))
    gains = [x.new_ones(x.shape[-1])] if weight is None else [weight.to(x.dtype), 1 + weight.to(x.dtype)]
    for gain in gains:
        for mean in (0.0, 1.0):
            linear = gain.detach() * (x - mean * x.mean(-1, keepdim=True))
            with torch.no_grad():
                size = (linear * linear).sum(-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
                scale = (target * linear).sum(-1, keepdim=True) / size
                left = (target - linear * scale).reshape(-1, target.shape[-1])[-1].abs().amax()
                within = 8 * torch.finfo(output.dtype).eps * target.reshape(-1, target.shape[-1])[-1].abs().amax()
            if bool(left <= within):
                return _with_values(linear * scale, output, bias)
    return None


def _with_values(linear: Tensor, output: Tensor, bias: Tensor | None) -> FrozenNorm:
    """The map with the values that the norm gave, to the last bit."""
    leaf = None
    made = linear.to(output.dtype)
    if bias is not None:
        leaf = bias.detach().clone().requires_grad_()
        made = made + leaf.to(output.dtype)
    return FrozenNorm(output.detach() + (made - made.detach()), leaf)


def _vector(module: nn.Module, name: str, given: Tensor) -> Tensor | None:
    value = getattr(module, name, None)
    return value.detach() if isinstance(value, Tensor) and value.shape == given.shape[-1:] else None
