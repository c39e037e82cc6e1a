"""The tokens that the details show, and what colours them. No Qt."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from moedesk.analysis.search import matching_tokens
from moedesk.analysis.tokens import LayerTokens, layer_tokens
from moedesk.core.columns import RouteFlag
from moedesk.core.filter import Filter
from moedesk.core.store import Store
from moedesk.core.visible import visible_text

LIMIT = 20_000
"""At most this many tokens are shown at once."""
NEWEST = 240
"""Token rows that are shown of the newest pass and those before it."""

ColorBy = Literal["expert", "entropy", "margin", "weight"]


@dataclass(frozen=True)
class Question:
    """Which tokens to show.

    Attributes
    ----------
    layer : int
    passes : tuple of int
        First…last pass, end excluded.
    token : int or None
        Row (in the layer's stream) that must be among them, if it belongs to these passes or ``follow`` is set.
    follow : bool
        Show the pass of ``token`` instead of ``passes``.
    from_end : bool
        Where there are more than ``LIMIT``, show the last ones rather than the first.
    rows : tuple of int or None
        Show just these token rows, end excluded, of ``passes``.
    newest : bool
        Show the newest pass instead, with what its sequences had before: the text as it grows.
    """

    layer: int
    passes: tuple[int, int]
    token: int | None = None
    follow: bool = False
    from_end: bool = False
    rows: tuple[int, int] | None = None
    newest: bool = False


@dataclass(frozen=True)
class TokenPage:
    """Tokens with their routing at one layer.

    Attributes
    ----------
    passes : tuple of int
        The passes they belong to, end excluded.
    tokens : LayerTokens
    order : (N,) int
        Places in ``tokens`` in the order of reading: by sequence, then by column.
    matched : (N,) bool
        Which places match the filter (all of them without one, padding included).
    before, after : int
        Tokens of these passes that are left out before and after.
    """

    passes: tuple[int, int]
    tokens: LayerTokens
    order: npt.NDArray[np.intp]
    matched: npt.NDArray[np.bool_]
    before: int = 0
    after: int = 0

    def __len__(self) -> int:
        return len(self.order)

    @property
    def overridden(self) -> npt.NDArray[np.bool_]:
        """(N,) whether an override changed experts or weights of a place."""
        return (self.tokens.flags & RouteFlag.OVERRIDDEN) != 0

    @property
    def left_out(self) -> str:
        """What is not shown, in one sentence; empty if everything is."""
        total = len(self) + self.before + self.after
        if total == len(self):
            return ""
        return f"Tokens {self.before:,}–{self.before + len(self) - 1:,} of {total:,}; brush fewer passes to see others"

    def place_of(self, row: int | None) -> int | None:
        """Return the place of a token row, None if it is not here."""
        if row is None or not 0 <= row - self.tokens.first < len(self):
            return None
        return row - self.tokens.first


def read_page(store: Store, question: Question, chosen: Filter) -> TokenPage:
    """Read the tokens of some passes and their routing at a layer."""
    layer = store.model.layer(question.layer)
    passes, token, rows = question.passes, question.token, question.rows
    if question.newest:
        passes, rows = newest_rows(store, layer.stream)
    if token is not None and not 0 <= token < store.n_tokens(layer.stream):
        token = None
    if token is not None and question.follow:
        number = int(store.read_tokens(token, token + 1, layer.stream)["pass"][0])
        passes = (number, number + 1)
    first, last = store.token_span(*passes, layer.stream)
    start, stop = rows or _page(first, last, token, question.from_end)
    tokens = layer_tokens(store, layer, start, stop)
    order = np.lexsort((np.arange(len(tokens.tokens)), tokens.tokens["column"], tokens.tokens["sequence"]))
    return TokenPage(passes, tokens, order, _matched(store, tokens, chosen), start - first, last - stop)


def newest_rows(store: Store, stream: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the passes and the token rows to show of the newest pass: its last rows, and those of its sequences before it."""
    last = store.n_passes
    first, stop = store.token_span(last - 1, last, stream)
    start = max(stop - NEWEST, 0)
    tokens = store.read_tokens(start, stop, stream)
    if stop <= first or not len(tokens):
        return (max(last - 1, 0), last), (first, max(first, stop))
    ours = np.isin(tokens["sequence"], tokens["sequence"][tokens["pass"] == tokens["pass"][-1]])
    start += int(np.flatnonzero(~ours)[-1]) + 1 if not ours.all() else 0
    return (int(tokens["pass"][start - stop]), last), (start, stop)


def _page(first: int, last: int, token: int | None, from_end: bool) -> tuple[int, int]:
    if last - first <= LIMIT:
        return first, last
    if token is not None and first <= token < last:
        start = min(max(token - LIMIT // 2, first), last - LIMIT)
    else:
        start = last - LIMIT if from_end else first
    return start, start + LIMIT


def _matched(store: Store, tokens: LayerTokens, chosen: Filter) -> npt.NDArray[np.bool_]:
    if not chosen or not len(tokens.tokens):
        return np.ones(len(tokens.tokens), bool)
    return matching_tokens(store, chosen, tokens.layer, tokens.first, tokens.first + len(tokens.tokens)).rows


def weights_of(tokens: LayerTokens, expert: int) -> npt.NDArray[np.float32]:
    """Return (T,) the weight each token gave an expert; 0 where it did not go there."""
    return np.where(tokens.experts == expert, np.nan_to_num(tokens.weights), 0).sum(1).astype(np.float32)


def color_values(page: TokenPage, by: ColorBy, expert: int | None) -> npt.NDArray[np.float32]:
    """Return (N,) what to colour by, for everything but the expert itself; NaN if unknown."""
    if by == "entropy":
        return page.tokens.entropy
    if by == "margin":
        return page.tokens.margin
    if by == "weight" and expert is not None:
        return weights_of(page.tokens, expert)
    return np.full(len(page), np.nan, np.float32)


def value_range(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Return the ends of the colour scale: 0 and the largest finite value."""
    known = values[np.isfinite(values)]
    return 0.0, float(max(known.max(initial=0.0), 1e-9))


def shares(page: TokenPage) -> list[tuple[int, float]]:
    """Return (expert, share of the tokens that have it as first choice), the largest first; padding left out."""
    chosen = page.tokens.top_expert[~page.tokens.tokens["is_padding"]]
    chosen = chosen[chosen >= 0]
    if not len(chosen):
        return []
    counts = np.bincount(chosen)
    order = np.argsort(-counts, kind="stable")
    return [(int(expert), float(counts[expert] / len(chosen))) for expert in order if counts[expert]]


def token_hint(page: TokenPage, place: int) -> list[str]:
    """Return what there is to say about a token, a line each."""
    tokens = page.tokens
    token = tokens.tokens[place]
    lines = [
        f"“{visible_text(tokens.texts[place])}”  id {unknown_if_negative(token['token_id'])}",
        f"pass {int(token['pass']):,} · sequence {int(token['sequence']):,} · position "
        f"{unknown_if_negative(token['position'])} · row {tokens.first + place:,}"
        + (" · padding" * bool(token["is_padding"])),
    ]
    for rank, slot in enumerate(tokens.slots(place), 1):
        what = "dropped (capacity)" if slot.expert < 0 else f"expert {slot.expert}   weight {slot.weight:.4f}"
        lines.append(f"{rank}. {what}   (slot {slot.slot})")
    if page.overridden[place]:
        lines.append("overridden: an override changed its experts or weights here")
    lines.append(f"entropy {number(tokens.entropy[place])} nats · margin {number(tokens.margin[place])}")
    return lines


def number(value: float, digits: int = 3) -> str:
    """Return a number, or that it is unknown."""
    return "unknown" if np.isnan(value) else f"{float(value):.{digits}f}"


def unknown_if_negative(value: int) -> str:
    """Return a position or id, or that it is unknown."""
    return f"{int(value):,}" if value >= 0 else "unknown"
