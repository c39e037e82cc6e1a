"""What explains a routing difference: nothing differs, numbers were rounded differently, or the logic differs.

Rounding moves scores a little, everywhere, and flips the tokens whose margin is as small as these moves. So two things are asked
of every layer. Do the weights of agreed experts differ by no more than the precision explains? And do the flips sit at margins
that the moves, seen where no expert changed, can reach? Where both hold the difference is noise.

Rounding grows on its way through the layers, and a token that flipped once is another token from then on: so flips are judged by
the tokens that flip for the first time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, sqrt
from typing import Any, Literal

from moedesk.analysis.diff.layer_diff import LayerDiff

Verdict = Literal["same", "noise", "logic"]

PRECISION = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "tf32": 2.0**-10, "bfloat16": 2.0**-7}
"""Distance of 1 from the next number."""
GROWTH = 4.0
"""Times the precision, and times √(1 + place of the layer), that the typical relative error of weights may be.

The sample models in float32, float16 and bfloat16 stay below 3.1 times the precision at any layer (docs/diff.md)."""
REACH = 8.0
"""A flip is explained if the scores need not have moved farther than so many times the 99th percentile of moves without one …"""
UNEXPLAINED = 0.02
"""… and a layer is, if at most this share of its first flips is not, …"""
FEW = 3
"""… or no more than so many."""


@dataclass(frozen=True)
class Evidence:
    """What speaks for the verdict, about one layer.

    Attributes
    ----------
    layer : str
        Path.
    what : str
        In words.
    numbers : dict
        The figures behind it.
    """

    layer: str
    what: str
    numbers: dict[str, float]


@dataclass(frozen=True)
class Judgement:
    """The verdict on a difference.

    Attributes
    ----------
    verdict : {"same", "noise", "logic"}
    reason : str
        One line.
    evidence : tuple of Evidence
        The first place to look comes first.
    precision : str
        What noise is measured by, a key of ``PRECISION``.
    """

    verdict: Verdict
    reason: str
    evidence: tuple[Evidence, ...]
    precision: str

    def to_json(self) -> list[dict[str, Any]]:
        """Return the evidence as JSON values."""
        return [{"layer": one.layer, "what": one.what, **one.numbers} for one in self.evidence]


def coarser(*dtypes: str) -> str:
    """Return the least precise of some dtypes; unknown ones count as float32."""
    return max((name if name in PRECISION else "float32" for name in dtypes), key=PRECISION.__getitem__)


def judge(layers: Sequence[LayerDiff], dtype: str) -> Judgement:
    """Return what explains the differences of layers, given in the order in which tokens pass them.

    Parameters
    ----------
    dtype : str
        A key of ``PRECISION``: what the coarser of the two computed in.
    """
    if all(_same(layer) for layer in layers):
        return Judgement(
            "same", f"every aligned token{_judged(layers)} has the same experts with the same weights", (), dtype
        )
    findings = [finding for layer in layers for finding in _findings(layer, dtype)]
    if findings:
        first = findings[0]
        return Judgement("logic", f"look first at {first.layer}: {first.what}", tuple(findings), dtype)
    flips, tokens = sum(layer.judged_flips for layer in layers), sum(layer.judged for layer in layers)
    of = _judged(layers)
    reason = f"{flips:,} of {tokens:,} decisions{of} differ, at margins that rounding in {dtype} explains"
    if not flips:
        reason = f"no decision{of} differs, and weights differ by no more than rounding in {dtype} explains"
    return Judgement("noise", reason, tuple(_typical(layer) for layer in layers if layer.judged_flips), dtype)


def _same(layer: LayerDiff) -> bool:
    return not layer.judged_flips and not layer.judged_tv


def _judged(layers: Sequence[LayerDiff]) -> str:
    """Return which tokens the verdict is about, where it isn't all."""
    return " with the same text before it" if any(layer.judged < layer.tokens for layer in layers) else ""


def _findings(layer: LayerDiff, dtype: str) -> list[Evidence]:
    """What rounding doesn't explain at a layer."""
    found = []
    allowed = GROWTH * PRECISION[dtype] * sqrt(1 + layer.layer.place)
    error = layer.errors.median
    if error > allowed:
        what = (
            f"weights of agreed experts differ by {error:.2g}, more than rounding in {dtype} explains ({allowed:.2g})"
        )
        found.append(Evidence(layer.layer.path, what, {"median_weight_error": error, "explained": allowed}))
    first = layer.first_moves_at_flip
    if len(first):
        reached = reach(layer, dtype)
        beyond = first.above(reached)
        if beyond > max(FEW, UNEXPLAINED * first.total):
            what = f"{beyond:,} of {first.total:,} first flips are at margins that noise can't reach ({reached:.2g})"
            numbers = {
                "first_flips": first.total,
                "unexplained": beyond,
                "reach": reached,
                "median_margin_at_flip": layer.median_margin_at_flip,
                "median_margin": layer.margins.median,
            }
            found.append(Evidence(layer.layer.path, what, numbers))
    elif layer.judged_flips > layer.judged / 2 and not len(layer.margins):
        what = "most tokens have other experts, and the margins are unknown"
        found.append(Evidence(layer.layer.path, what, {"flip_rate": layer.flip_rate}))
    return found


def reach(layer: LayerDiff, dtype: str) -> float:
    """Return how far rounding can move the scores of a layer: flips at larger margins are not explained by it.

    Tokens that went another way and met the same experts by chance are among those whose moves are known. So moves explain no
    flip beyond the median margin; what the precision itself makes of a score does, where a router is that undecided.
    """
    typical = layer.margins.median if len(layer.margins) else 0.0
    moves = layer.moves.quantile(0.99) if len(layer.moves) else 0.0
    rounding = PRECISION[dtype] * max(typical, 1.0 / layer.layer.experts)
    return max(min(REACH * moves, typical), REACH * rounding)


def _typical(layer: LayerDiff) -> Evidence:
    at_flip, typical = layer.median_margin_at_flip, layer.margins.median
    if isnan(at_flip):
        return Evidence(layer.layer.path, f"{layer.flips:,} tokens flip, at unknown margins", {"flips": layer.flips})
    what = f"flips at a median margin of {at_flip:.2g}, where all tokens have {typical:.2g}"
    numbers = {"median_margin_at_flip": at_flip, "median_margin": typical, "median_move": layer.moves.median}
    return Evidence(layer.layer.path, what, numbers)
