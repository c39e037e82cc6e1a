"""The routing of one pass, as columns: what a probe hands to a capture."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class LayerRoutes:
    """What one MoE layer did with the token rows of its stream in one pass.

    Attributes
    ----------
    layer : int
        Place in ``ModelInfo.layers``.
    counts : (E,) int64
        Slots each expert received, padding left out; exact, whatever else was kept.
    experts : (T, k) signed int or None
        Logical expert ids in slot order, -1 where a slot was dropped; None if only counts were kept.
    weights : (T, k) float32 or None
        Gate weights as the experts received them; 0 for a dropped slot.
    entropy : (T,) float32 or None
        Entropy of softmax(logits) over all experts, in nats; NaN without logits.
    margin : (T,) float32 or None
        Score of rank k minus score of rank k+1, in the score the router ranks by; NaN if that is unknown.
    flags : (T,) uint8 or None
        ``RouteFlag`` bits.
    logits : (T, E) float32 or None
        Router logits, on request.
    """

    layer: int
    counts: npt.NDArray[np.int64]
    experts: npt.NDArray[np.signedinteger] | None = None
    weights: npt.NDArray[np.float32] | None = None
    entropy: npt.NDArray[np.float32] | None = None
    margin: npt.NDArray[np.float32] | None = None
    flags: npt.NDArray[np.uint8] | None = None
    logits: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class RouteBatch:
    """The routing of one pass.

    Attributes
    ----------
    header : () structured, dtype ``columns.PASS``
        ``id``, ``first_token`` and ``n_tokens`` are set by the writer.
    tokens : mapping of stream name to (T,) structured, dtype ``columns.TOKEN``
        ``pass`` is set by the writer. Empty arrays if only counts were kept.
    layers : tuple of LayerRoutes
        Layers that ran; one that is missing here is written as absent.
    label : str
        What the pass is, such as the domain of its text; empty for nothing.
    """

    header: np.ndarray
    tokens: Mapping[str, np.ndarray]
    layers: tuple[LayerRoutes, ...] = field(default=())
    label: str = ""
