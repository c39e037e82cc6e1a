"""How evenly a layer's load is spread over its experts. Definitions and sources: each metric says its own.

Each metric takes the (E,) slots per expert of *one* layer, experts with none included and padding left out. Without a slot, every
metric is NaN.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import log, nan

import numpy as np
import numpy.typing as npt

from moedesk.core.model import LayerInfo
from moedesk.core.store import Store

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Metric:
    """One number about a layer's load, and what exactly it is.

    Attributes
    ----------
    key : str
        Stable name in JSON.
    name : str
        As shown.
    formula : str
        With c the slots per expert, E experts, S = Σ c, p = c/S, H = −Σ p ln p.
    convention : str
        Which of the definitions in use this one is.
    source : str
        Where the definition comes from.
    of : callable
        From (E,) counts to the value.
    """

    key: str
    name: str
    formula: str
    convention: str
    source: str
    of: Callable[[Counts], float]


@dataclass(frozen=True)
class LayerLoad:
    """The load of one layer's experts.

    Attributes
    ----------
    layer : LayerInfo
    counts : (E,) int64
        Slots per expert, padding left out.
    """

    layer: LayerInfo
    counts: Counts

    @cached_property
    def slots(self) -> int:
        """Slots in all."""
        return int(self.counts.sum())

    def value(self, key: str) -> float:
        """Return the metric with that key; NaN without slots."""
        return METRICS[key].of(self.counts)

    def values(self) -> dict[str, float]:
        """Return every metric by key."""
        return {key: metric.of(self.counts) for key, metric in METRICS.items()}


def layer_load(store: Store, first: int = 0, last: int | None = None) -> list[LayerLoad]:
    """Return the load of every layer over passes first…last (end excluded), from exact counts."""
    return [
        LayerLoad(layer, counts)
        # The model is read first: one that runs may be described with more layers before the counts are read.
        for layer, counts in zip(store.model.layers, store.window_counts(first, last), strict=False)
    ]


def slot_share(counts: Counts) -> npt.NDArray[np.float64]:
    """Return (E,) p = c/S, which sums to 1; NaN without slots."""
    total = counts.sum()
    return counts / total if total else np.full(len(counts), nan)


def utilization(counts: Counts) -> npt.NDArray[np.float64]:
    """Return (E,) c·E/S, 1 for an even share (d7, NeMo Automodel's utilisation ratio); NaN without slots."""
    return slot_share(counts) * len(counts)


def entropy(counts: Counts) -> float:
    """Return H = −Σ p ln p in nats, with 0·ln 0 = 0; NaN without slots."""
    share = slot_share(counts)
    used = share[share != 0]
    return float(-(used * np.log(used)).sum()) + 0.0


def _cv(counts: Counts) -> float:
    return float(counts.std() / counts.mean()) if counts.any() else nan


def _cv_sample(counts: Counts) -> float:
    return float(counts.std(ddof=1) / counts.mean()) if counts.any() and len(counts) > 1 else nan


def _load_imbalance(counts: Counts) -> float:
    return float(counts.max() / counts.mean()) if counts.any() else nan


def _gini(counts: Counts) -> float:
    experts, total = len(counts), counts.sum()
    if not total:
        return nan
    ranks = np.arange(1, experts + 1)
    return float(2 * (ranks * np.sort(counts)).sum() / (experts * total) - (experts + 1) / experts)


def _entropy_normalized(counts: Counts) -> float:
    return entropy(counts) / log(len(counts)) if len(counts) > 1 else nan


def _expert_diversity(counts: Counts) -> float:
    return float(np.exp(entropy(counts)) / len(counts))


def _kl_uniform(counts: Counts) -> float:
    return log(len(counts)) - entropy(counts)


def _jain(counts: Counts) -> float:
    squares = np.square(counts, dtype=np.float64).sum()
    return float(counts.sum(dtype=np.float64) ** 2 / (len(counts) * squares)) if squares else nan


def _min_max_ratio(counts: Counts) -> float:
    return float(counts.min() / counts.max()) if counts.any() else nan


METRICS = {
    metric.key: metric
    for metric in (
        Metric("cv", "CV", "std(c, ddof=0) / mean(c)", "population standard deviation", "standard", _cv),
        Metric(
            "cv_sample",
            "CV (sample)",
            "std(c, ddof=1) / mean(c)",
            "sample standard deviation",
            "NeMo Automodel",
            _cv_sample,
        ),
        Metric(
            "maxvio",
            "MaxVio",
            "(max c − mean c) / mean c",
            "on all counts of the range (MaxVio_global)",
            "arXiv 2408.15664, eq. 4",
            lambda counts: _load_imbalance(counts) - 1,
        ),
        Metric("load_imbalance", "Load imbalance", "max c / mean c", "MaxVio + 1", "OLMo-core", _load_imbalance),
        Metric("gini", "Gini", "2 Σ i·c_(i) / (E·S) − (E+1)/E", "ascending, i from 1", "standard", _gini),
        Metric(
            "entropy_normalized",
            "Normalised entropy",
            "H / ln E",
            "of slot shares; 1 is even",
            "standard",
            _entropy_normalized,
        ),
        Metric(
            "expert_diversity",
            "Expert diversity",
            "exp(H) / E",
            "of slot shares; 1 is even",
            "NeMo Automodel",
            _expert_diversity,
        ),
        Metric("kl_uniform", "KL to uniform", "ln E − H", "nats", "standard", _kl_uniform),
        Metric("jain", "Jain's index", "S² / (E Σ c²)", "1 is even", "standard", _jain),
        Metric("min_max_ratio", "Min / max", "min c / max c", "1 is even", "standard", _min_max_ratio),
    )
}
