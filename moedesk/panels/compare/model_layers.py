"""The table of layers: what differs at each. No Qt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan

from moedesk.panels.compare.model import Comparison, LayerPair


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes
    ----------
    key, title, hint : str
    value : callable
        What is sorted by; NaN for unknown.
    text : callable
        What is shown of it.
    bar : bool
        Whether it is a share, drawn as a bar too.
    """

    key: str
    title: str
    hint: str
    value: Callable[[LayerPair], float]
    text: Callable[[float], str]
    bar: bool = False


def _percent(value: float) -> str:
    return "–" if isnan(value) else f"{value:.2%}"


def _short(value: float) -> str:
    return "–" if isnan(value) else f"{value:.3g}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


COLUMNS = (
    Column(
        "layer",
        "Layer",
        "Place of the MoE layer in this session; ⚠ marks what rounding doesn't explain",
        lambda pair: pair.mine,
        lambda value: f"L{value:.0f}",
    ),
    Column(
        "flips",
        "Flips",
        "Share of tokens whose set of experts differs",
        lambda pair: pair.layer.flip_rate,
        _percent,
        True,
    ),
    Column("first", "First here", "Tokens that flip at this layer and at none before", lambda pair: pair.first, _whole),
    Column(
        "margin_at_flip",
        "Margin at flip",
        "Median of A's margins where the set differs. Margin: score of rank k minus rank k+1, in the score the router ranks by",
        lambda pair: pair.layer.median_margin_at_flip,
        _short,
    ),
    Column(
        "margin",
        "Margin, all",
        "Median of A's margins over all tokens, in the score the router ranks by",
        lambda pair: pair.layer.margins.median,
        _short,
    ),
    Column("weight_tv", "Weight TV", "Mean over tokens of ½ Σₑ |w_A − w_B|", lambda pair: pair.layer.weight_tv, _short),
    Column(
        "weight_error",
        "Agreed weights",
        "Mean relative difference |w_A − w_B| / w_A of the weights of agreed experts",
        lambda pair: pair.layer.agreed_weight_error,
        _short,
    ),
    Column(
        "load_tv",
        "Load TV",
        "½ Σₑ |p_A − p_B| of the experts' shares of slots, over the aligned tokens",
        lambda pair: pair.layer.load_tv,
        _short,
    ),
    Column(
        "saturation",
        "Saturation",
        "Mean of |A ∩ B| / k: how much of A's routing B has. Between checkpoints this is router saturation (OLMoE)",
        lambda pair: 1 - pair.layer.slot_mismatch,
        _percent,
        True,
    ),
)
"""The columns, from left to right."""


@dataclass(frozen=True)
class LayerRow:
    """A row of the table.

    Attributes
    ----------
    pair : LayerPair
    values : tuple of float
    texts : tuple of str
    unexplained : bool
        Whether something here is more than rounding explains.
    """

    pair: LayerPair
    values: tuple[float, ...]
    texts: tuple[str, ...]
    unexplained: bool


def layer_rows(comparison: Comparison) -> tuple[LayerRow, ...]:
    """Return the rows in the order of the layers."""
    judgement = comparison.found.judgement
    unexplained = {one.layer for one in judgement.evidence} if judgement.verdict == "logic" else set()
    rows = []
    for pair in comparison.pairs:
        values = tuple(float(column.value(pair)) for column in COLUMNS)
        texts = tuple(column.text(value) for column, value in zip(COLUMNS, values, strict=True))
        rows.append(LayerRow(pair, values, texts, pair.path in unexplained))
    return tuple(rows)


def in_order(rows: Sequence[LayerRow], column: int, falling: bool) -> tuple[LayerRow, ...]:
    """Return the rows sorted by a column; unknown values come last."""

    def key(row: LayerRow) -> tuple[bool, float]:
        value = row.values[column]
        return (isnan(value), 0.0 if isnan(value) else -value if falling else value)

    return tuple(sorted(rows, key=key))
