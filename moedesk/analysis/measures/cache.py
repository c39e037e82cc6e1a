"""How often a cache of C experts would have the expert that a decoded token needs: d24."""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from math import ceil

import numpy as np
import numpy.typing as npt

from moedesk.analysis.measures.measure import Meaning, Sums, sums
from moedesk.analysis.measures.rows import Rows
from moedesk.core.columns import Phase
from moedesk.core.model import LayerInfo

LIMIT = 20_000
"""Decoded tokens a layer looked at: the first ones."""
SHARE = 4
"""The cache holds E / SHARE experts, at least k."""


class Cache:
    """Hit rates over the decode stream, in the order of its tokens; the cache is empty at first."""

    meanings = (
        Meaning(
            "cache_hit_lru",
            "Cache hits, least recently used",
            "slots whose expert is held / slots",
            f"⌈E/{SHARE}⌉ experts a layer, at least k; decode passes only, their first {LIMIT:,} tokens",
            "standard",
        ),
        Meaning(
            "cache_hit_lfu",
            "Cache hits, least frequently used",
            "slots whose expert is held / slots",
            f"⌈E/{SHARE}⌉ experts a layer, at least k; ties: the one used longest ago; first {LIMIT:,} decoded tokens",
            "standard",
        ),
    )

    def partial(self, rows: Rows) -> Sums:
        """Return the ids of decoded tokens in order."""
        passes = rows.tokens["pass"]
        if not len(passes):
            return sums(ids=np.zeros((0, rows.layer.top_k), np.int64))
        first, last = int(passes.min()), int(passes.max())
        phases = rows.store.read_passes(first, last + 1)["phase"]
        return sums(ids=rows.experts[phases[passes - first] == Phase.DECODE][:LIMIT])

    def combine(self, before: Sums, after: Sums) -> Sums:
        """Return both, one after the other."""
        return {"ids": np.concatenate((before["ids"], after["ids"]))[:LIMIT]}

    def values(self, partial: Sums, layer: LayerInfo) -> Mapping[str, float]:
        """Return the hit rates; NaN without decoded tokens."""
        size = max(layer.top_k, ceil(layer.experts / SHARE))
        ids = partial["ids"]
        return {"cache_hit_lru": lru_hits(ids, size), "cache_hit_lfu": lfu_hits(ids, size)}


def lru_hits(ids: npt.NDArray[np.signedinteger], size: int) -> float:
    """Return the share of (n, k) slots found in a cache that drops the least recently used expert."""
    held: OrderedDict[int, None] = OrderedDict()
    hits = slots = 0
    for expert in _slots(ids.tolist()):
        slots += 1
        if expert in held:
            hits += 1
            held.move_to_end(expert)
            continue
        if len(held) == size:
            held.popitem(last=False)
        held[expert] = None
    return hits / slots if slots else float("nan")


def lfu_hits(ids: npt.NDArray[np.signedinteger], size: int) -> float:
    """Return the same for a cache that drops the least frequently used one; uses are counted from the start."""
    uses: Counter[int] = Counter()
    held: dict[int, int] = {}
    hits = slots = 0
    for time, expert in enumerate(_slots(ids.tolist())):
        slots += 1
        uses[expert] += 1
        hits += expert in held
        if expert not in held and len(held) == size:
            del held[min(held, key=lambda one: (uses[one], held[one]))]
        held[expert] = time
    return hits / slots if slots else float("nan")


def _slots(rows: Iterable[list[int]]) -> Iterator[int]:
    return (expert for row in rows for expert in row if expert >= 0)
