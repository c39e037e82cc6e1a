"""One token in A and in B, layer by layer. No Qt."""

from dataclasses import dataclass

import numpy as np

from moedesk.analysis.diff.gather import Picked, StreamDiff, read_side
from moedesk.analysis.diff.layer_diff import Rows, Side
from moedesk.panels.compare.model import Comparison


@dataclass(frozen=True)
class TokenLayer:
    """What a layer did with a token.

    Attributes
    ----------
    mine : int
        Place of the layer in the panel's session.
    a, b : str
        Experts with their weights, in slot order; in brackets what the other one lacks.
    overlap : str
        How many experts both have.
    margin_a, margin_b, tv : float
    flip : bool
    """

    mine: int
    a: str
    b: str
    overlap: str
    margin_a: float
    margin_b: float
    tv: float
    flip: bool


def token_layers(comparison: Comparison, stream: StreamDiff, a: int, b: int) -> tuple[TokenLayer, ...]:
    """Return what each layer of the stream did with a token of row ``a`` in A and ``b`` in B; layers that saw it in both."""
    question = comparison.question
    row_a, row_b = (Picked.of(np.array([row])) for row in (a, b))
    found = []
    for layer, other in zip(stream.layers, stream.counterparts, strict=True):
        left, right = read_side(question.a, layer.layer, row_a), read_side(question.b, other, row_b)
        rows = Rows.of(left, right)
        if not len(rows.flip):
            continue
        k = max(int((side.experts >= 0).sum()) for side in (left, right))
        found.append(
            TokenLayer(
                (other if question.swapped else layer.layer).place,
                _slots(left, right),
                _slots(right, left),
                f"{round(rows.overlap[0] * k)} of {k}",
                float(rows.margin_a[0]),
                float(rows.margin_b[0]),
                float(rows.tv[0]),
                bool(rows.flip[0]),
            )
        )
    return tuple(found)


def _slots(side: Side, other: Side) -> str:
    shared = set(other.experts[0].tolist())
    parts = []
    for expert, weight in zip(side.experts[0].tolist(), side.weights[0].tolist(), strict=True):
        if expert < 0:
            parts.append("dropped")
        else:
            parts.append(f"{expert} {weight:.3f}" if expert in shared else f"[{expert}] {weight:.3f}")
    return " · ".join(parts)
