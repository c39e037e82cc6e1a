"""One call of an MoE block's experts, as hooks of the tests' own saw it."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Seen:
    """A call.

    Attributes
    ----------
    path : str
        Of the experts module, or of the block where there is none.
    module : Module or None
        Returns the experts' output, so that it can be doubled; None if none does.
    ids, weights : (N, k) tensors
        -1 and 0 where a slot was dropped.
    output : (N, H) float tensor
    run : function
        (N, H) output of the model's own experts for other (N, k) ids and weights on the same rows.
    linear : bool
        Whether weights multiply outputs.
    rows : (N, H) float tensor or None
        What an expert receives, before any weight; where an adapter runs experts.
    """

    path: str
    module: nn.Module | None
    ids: Tensor
    weights: Tensor
    output: Tensor
    run: Callable[[Tensor, Tensor], Tensor]
    linear: bool = True
    rows: Tensor | None = None
