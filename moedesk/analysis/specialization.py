"""Which experts work on which label's tokens: domain specialisation (d15) and risk difference (d22)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from moedesk.analysis.chunks import Chunks, Part, Ticket
from moedesk.analysis.experts import share_interval
from moedesk.analysis.measures.domains import risk_difference
from moedesk.analysis.measures.rows import Rows
from moedesk.core.label import labelled, names_of
from moedesk.core.model import LayerInfo
from moedesk.core.store import LayerLike, Store

SHARE_CONVENTION = (
    "100·c/T: percent of the label's tokens that go to the expert; 100·k/E is even (d15, OLMoE, arXiv 2409.02060)"
)
RISK_CONVENTION = (
    "share of the label's tokens less share of the other labels' tokens that go to the expert (d22, SteerMoE, "
    "arXiv 2509.09660; here over labelled tokens, not paired prompts)"
)
INTERVAL_CONVENTION = (
    "95 % Wilson score interval of c/T; tokens of one text are not independent, so it is rather too narrow"
)


@dataclass(frozen=True)
class LabelShare:
    """What one expert gets of one label's tokens.

    Attributes
    ----------
    layer : LayerInfo
    expert : int
    name : str
        The label.
    count, tokens : int
        The label's tokens that went to the expert, and all of them; padding left out.
    """

    layer: LayerInfo
    expert: int
    name: str
    count: int
    tokens: int

    @property
    def share(self) -> float:
        """The share of the label's tokens: count / tokens; NaN without any."""
        return self.count / self.tokens if self.tokens else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of ``share``."""
        return share_interval(self.count, self.tokens)

    @property
    def times_even(self) -> float:
        """``share`` ÷ k/E: 1 is an even share."""
        return self.share * self.layer.experts / self.layer.top_k

    @property
    def text(self) -> str:
        """One line to read."""
        return f"expert {self.layer.place}.{self.expert} gets {self.times_even:.1f} × its even share on {self.name}"


@dataclass(frozen=True)
class DomainLoad:
    """Where the tokens of each label go at one layer.

    Attributes
    ----------
    layer : LayerInfo
    names : tuple of str
        The D labels. They may overlap.
    tokens : (D,) int64
        Tokens of each label that the layer saw; padding left out.
    counts : (D, E) int64
        Of these, the ones that went to each expert.
    other_tokens : (D,) int64
    other_counts : (D, E) int64
        The same of tokens that have another label, and not this one.
    """

    layer: LayerInfo
    names: tuple[str, ...]
    tokens: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    other_tokens: npt.NDArray[np.int64]
    other_counts: npt.NDArray[np.int64]

    @cached_property
    def percent(self) -> npt.NDArray[np.float64]:
        """(D, E) D(e, d) = 100·c/T; NaN for a label without tokens here. A row sums to 100·k without drops."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return 100 * self.counts / self.tokens[:, None]

    @cached_property
    def risk_difference(self) -> npt.NDArray[np.float64]:
        """(D, E) share of the label's tokens less share of the others'; NaN where either has none."""
        known = (self.tokens > 0) & (self.other_tokens > 0)
        rows = [
            risk_difference(counts, int(tokens), others, int(other_tokens))
            for counts, tokens, others, other_tokens in zip(
                self.counts, self.tokens, self.other_counts, self.other_tokens, strict=True
            )
        ]
        return np.where(known[:, None], np.array(rows).reshape(self.counts.shape), np.nan)

    def share_of(self, expert: int, label: int) -> LabelShare:
        """Return what an expert gets of the label at a place in ``names``."""
        count, tokens = int(self.counts[label, expert]), int(self.tokens[label])
        return LabelShare(self.layer, expert, self.names[label], count, tokens)

    def by_label(self, expert: int) -> tuple[LabelShare, ...]:
        """Return what an expert gets of each label that has tokens here, the largest share first."""
        shares = [self.share_of(expert, place) for place in range(len(self.names)) if self.tokens[place]]
        return tuple(sorted(shares, key=lambda one: -one.share))

    def favourites(self) -> tuple[LabelShare, ...]:
        """Return for each label that has tokens here the expert that gets most of them."""
        seen = np.flatnonzero(self.tokens)
        return tuple(self.share_of(int(self.counts[place].argmax()), int(place)) for place in seen)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; what is unknown is null."""
        labels = [
            {
                "name": name,
                "tokens": int(self.tokens[place]),
                "share_percent": _plain(self.percent[place]),
                "risk_difference": _plain(self.risk_difference[place]),
            }
            for place, name in enumerate(self.names)
        ]
        return {
            "path": self.layer.path, "experts": self.layer.experts, "top_k": self.layer.top_k, "labels": labels,
            "convention": {"share_percent": SHARE_CONVENTION, "risk_difference": RISK_CONVENTION},
        }  # fmt: skip


def _plain(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [value if isfinite(value) else None for value in values.tolist()]


def domain_loads(
    store: Store,
    layers: Sequence[LayerLike] | None = None,
    first: int = 0,
    last: int | None = None,
    ticket: Ticket | None = None,
) -> tuple[DomainLoad, ...]:
    """Return where the tokens of each label go, layer by layer, from the rows kept of passes first…last (end excluded).

    Parameters
    ----------
    layers : sequence of layers or None
        None for all.
    """
    labels = store.labels
    names = names_of(labels)
    wanted = [store.model.layer(layer) for layer in (store.model.layers if layers is None else layers)]
    sums = {layer.place: _nothing(len(names), layer) for layer in wanted}
    streams = list(dict.fromkeys(layer.stream for layer in wanted)) if names else []
    for number, stream in enumerate(streams):
        part = Part(ticket).part(number / len(streams), 1 / len(streams))
        span = store.token_span(first, store.n_passes if last is None else last, stream)
        for i, j in Chunks(*span).walk(part):
            tokens = store.read_tokens(i, j, stream)
            masks = np.array([labelled(labels, name, stream, i, tokens["pass"]) for name in names])
            for layer in wanted:
                if layer.stream == stream and masks.any():
                    _add(sums[layer.place], Rows(store, layer, i, j, tokens), masks)
    return tuple(DomainLoad(layer, names, *sums[layer.place]) for layer in wanted)


_Sums = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]


def _nothing(labels: int, layer: LayerInfo) -> _Sums:
    each, of_experts = labels, (labels, layer.experts)
    first, second, third, fourth = (np.zeros(shape, np.int64) for shape in (each, of_experts, each, of_experts))
    return first, second, third, fourth


def _add(sums: _Sums, rows: Rows, masks: npt.NDArray[np.bool_]) -> None:
    """Add the rows of each label, and those of the others, to the sums."""
    masks = masks[:, rows.kept]
    others = masks.any(0) & ~masks
    for place in range(len(masks)):
        for chosen, tokens, counts in ((masks[place], *sums[:2]), (others[place], *sums[2:])):
            ids = rows.experts[chosen]
            tokens[place] += np.count_nonzero(chosen)
            counts[place] += np.bincount(ids[ids >= 0].astype(np.int64), minlength=rows.layer.experts)


def strongest(loads: Iterable[DomainLoad]) -> LabelShare | None:
    """Return the expert and label whose share is furthest above even, judged by its interval's lower end; None without labels.

    Layers in which every token goes to every expert are left out.
    """
    found = [one for load in loads if load.layer.top_k < load.layer.experts for one in load.favourites()]
    return max(found, key=lambda one: one.interval[0] * one.layer.experts / one.layer.top_k, default=None)
