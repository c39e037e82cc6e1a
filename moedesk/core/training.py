"""One training step, as columns: what a probe hands to a capture."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class LayerNorms:
    """Norms of one MoE layer in one training step; NaN where unknown.

    Attributes
    ----------
    layer : int
        Place in ``ModelInfo.layers``.
    gradients : (E,) float32
        L2 norm of the gradient of each expert's parameters, all of them together, as the optimizer got it: summed over the
        step's passes, after clipping and without the scale of mixed precision. 0 for an expert that got none though others of
        its layer did; NaN for one that is frozen.
    outputs : (E,) float32
        Mean L2 norm of each expert's output f_e(x), without its gate weight, over the tokens routed to it in the step's passes,
        padding left out; NaN for an expert that got no token.
    router, shared : float
        L2 norm of the gradient of the router's, and of the shared experts' parameters.
    """

    layer: int
    gradients: npt.NDArray[np.float32]
    outputs: npt.NDArray[np.float32]
    router: float = float("nan")
    shared: float = float("nan")


@dataclass(frozen=True)
class TrainingStep:
    """One training step; it comes after its passes.

    Attributes
    ----------
    row : () structured, dtype ``columns.STEP``
        ``first_pass`` and ``last_pass`` are set by the writer.
    layers : tuple of LayerNorms
        Layers of which something was measured.
    """

    row: np.ndarray
    layers: tuple[LayerNorms, ...] = field(default=())
