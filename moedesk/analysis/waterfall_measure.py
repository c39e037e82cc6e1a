"""What a cell of the routing waterfall can show, in which unit and with which colours."""

from dataclasses import dataclass
from math import isnan
from typing import Literal

import numpy as np
import numpy.typing as npt

from moedesk.analysis.heatmap import DEAD, ColourScale

NONE = float("-inf")
"""Value of an expert that received no slot while its layer saw tokens (but for loads, where that is 0)."""


@dataclass(frozen=True)
class Measure:
    """One number per expert and column.

    Attributes
    ----------
    key, title : str
    unit : str
        Behind a value.
    caption : str
        What it is, in a few words.
    convention : str
        What exactly it is, in a sentence or two.
    scale : ColourScale
        Which value gets which of the indexes 1 to 254.
    ticks : tuple of (float, str)
        Values to name on the colour bar.
    peak : {"largest", "smallest"}
        Which of several experts a row shows.
    column : str
        The column of routes it is the mean of; empty for the load, which comes from the counts.
    """

    key: str
    title: str
    unit: str
    caption: str
    convention: str
    scale: ColourScale
    ticks: tuple[tuple[float, str], ...]
    peak: Literal["largest", "smallest"] = "largest"
    column: str = ""

    def indexes(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Return an index per value: ``DEAD`` for an expert without a slot, ``IDLE`` for NaN, else 1 to 254."""
        if not self.column:
            return self.scale.indexes(values)
        none = values == NONE
        indexes = self.scale.indexes(np.where(none, 1, np.maximum(values, np.float32(1e-30))).astype(np.float32))
        indexes[none] = DEAD
        return indexes

    def text(self, value: float) -> str:
        """Return a value with its unit."""
        if isnan(value):
            return "unknown" if self.column else "the layer saw no tokens"
        if value == (NONE if self.column else 0):
            return "no tokens"
        return f"{value:.2f} {self.unit}" if not self.column else f"{self.unit} {value:.4g}"


MEASURES = {
    measure.key: measure
    for measure in (
        Measure(
            "load",
            "Load",
            "× uniform share",
            "Load ÷ uniform share",
            "Load ÷ uniform share, c·E/S: slots an expert got ÷ what it would get if all E experts of its layer got the same.",
            ColourScale(),
            ((1 / 8, "≤ ⅛"), (1, "1 = even"), (8, "≥ 8")),
        ),
        Measure(
            "weight",
            "Weight",
            "mean gate weight",
            "Mean gate weight of the slots an expert received",
            "Mean gate weight of the slots an expert received, as the experts received it.",
            ColourScale("log", 1 / 64, 1),
            ((1 / 64, "≤ 1/64"), (1 / 8, "⅛"), (1, "≥ 1")),
            column="weights",
        ),
        Measure(
            "entropy",
            "Entropy",
            "entropy ÷ ln E",
            "Mean router entropy ÷ ln E of the tokens that chose an expert",
            "Mean router entropy ÷ ln E of the tokens that chose an expert: of softmax(logits) over all E; 1 is undecided.",
            ColourScale("linear", 0, 1),
            ((0, "0"), (0.5, "0.5"), (1, "1 = ln E")),
            column="entropy",
        ),
        Measure(
            "margin",
            "Margin",
            "mean margin",
            "Mean margin (rank k − rank k+1) of the tokens that chose an expert",
            "Mean margin of the tokens that chose an expert: score of rank k − score of rank k+1, in the score the router "
            "ranks by. Small is a near tie.",
            ColourScale("log", 1 / 1024, 1),
            ((1 / 1024, "≤ 0.001"), (1 / 32, "0.03"), (1, "≥ 1")),
            peak="smallest",
            column="margin",
        ),
    )
}
