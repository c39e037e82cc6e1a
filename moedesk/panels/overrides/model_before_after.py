"""What "Run before / after" shows: two texts with what differs, a row a token, the load of each layer. No Qt."""

from dataclasses import dataclass
from difflib import SequenceMatcher
from math import isnan
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from moedesk.core.before_after import BeforeAfter
from moedesk.core.model import LayerInfo
from moedesk.core.signed import signed
from moedesk.core.visible import visible_text
from moedesk.ui.load_pair import LoadPair

Role = Literal["prompt", "same", "differs"]
SIDES = ("before", "after")

TokenColumn = Literal["place", "token", "before", "after", "change"]
TOKEN_COLUMNS: tuple[TokenColumn, ...] = get_args(TokenColumn)
TITLES = {
    "place": ("#", "Place in the text, from 0; the prompt first"),
    "token": ("Token", "As the model reads it; ▏ stands behind the prompt's last one"),
    "before": ("Before", "Log-probability of the token without overrides, in nats"),
    "after": ("After", "Log-probability of the same token with overrides, in nats"),
    "change": ("Change", "After minus before, in nats: below 0 the overrides make the token less likely"),
}


@dataclass(frozen=True)
class Piece:
    """A token of a text, or a line break of it."""

    text: str
    role: Role


def written(result: BeforeAfter) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Return the texts without and with overrides; tokens that only one of them has are marked.

    What the two wrote is aligned by the longest runs of tokens that both have.
    """
    prompt = tuple(Piece(text, "prompt") for text in result.texts[: result.prompt])
    one, other = result.ids[result.prompt :].tolist(), result.written_ids.tolist()
    texts = result.texts[result.prompt :], result.written
    same: tuple[set[int], set[int]] = (set(), set())
    for block in SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks():
        same[0].update(range(block.a, block.a + block.size))
        same[1].update(range(block.b, block.b + block.size))
    sides = (
        tuple(Piece(text, "same" if place in same[side] else "differs") for place, text in enumerate(texts[side]))
        for side in (0, 1)
    )
    first, second = sides
    return (*prompt, *first), (*prompt, *second)


def token_row(result: BeforeAfter, place: int) -> dict[TokenColumn, str]:
    """Return what the table says of a token."""
    before, after = float(result.before[place]), float(result.after[place])
    end = "▏" if place == result.prompt - 1 else ""
    return {
        "place": f"{place:,}",
        "token": visible_text(result.texts[place]) + end,
        "before": _number(before),
        "after": _number(after),
        "change": "" if isnan(after - before) else signed(after - before, 3),
    }


def order(result: BeforeAfter, column: TokenColumn, descending: bool) -> list[int]:
    """Return the places of the tokens in the order of a column; what is unknown comes last."""
    if column == "token":
        places = sorted(range(len(result.ids)), key=lambda place: result.texts[place])
        return places[::-1] if descending else places
    columns: dict[TokenColumn, npt.NDArray[np.floating]] = {
        "place": np.arange(len(result.ids), dtype=np.float64),
        "before": result.before,
        "after": result.after,
        "change": result.after - result.before,
    }
    values = columns[column]
    return np.argsort(-values if descending else values, kind="stable").tolist()


def load_pair(result: BeforeAfter, layer: int) -> LoadPair | None:
    """Return the loads of a layer's experts; None where nothing was routed."""
    if not layer < len(result.counts_before):
        return None
    return LoadPair.of(result.counts_before[layer], result.counts_after[layer], SIDES)


def layer_text(result: BeforeAfter, layer: LayerInfo) -> str:
    """Return what the box of layers says of one: how much of its load moved."""
    pair = load_pair(result, layer.place)
    moved = "not routed" if pair is None else f"{pair.moved:.1%} of slots moved"
    return f"L{layer.place}  {moved}"


def most_moved(result: BeforeAfter) -> int:
    """Return the layer whose load moved most."""
    pairs = [load_pair(result, layer) for layer in range(len(result.counts_before))]
    moved = [0.0 if pair is None else pair.moved for pair in pairs]
    return int(np.argmax(moved)) if moved else 0


def _number(value: float) -> str:
    return "" if isnan(value) else f"{value:z.3f}"
