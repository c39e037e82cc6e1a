"""How evenly a layer's load is spread, from counts: d1 to d8 of ``analysis.load``, d2b, d11 and the concentration of d24."""

from collections.abc import Mapping
from math import ceil

import numpy as np
import numpy.typing as npt

from moedesk.analysis.load import METRICS, Counts
from moedesk.analysis.measures.measure import Meaning, Sums, add, sums
from moedesk.analysis.measures.rows import Rows
from moedesk.core.model import LayerInfo

DEAD_SHARE = 0.1
"""An expert without a slot is dead if its share is surely below this part of 1/E."""
COLD = 0.001
"""Share of all slots below which an expert is cold."""
HOT = 2.0
"""Times 1/E above which an expert is hot."""

_MORE = (
    Meaning(
        "maxvio_without_top_k",
        "MaxVio without the hottest",
        "MaxVio of c without its k largest",
        "k is the layer's top-k; means over what is left",
        "prime-rl",
    ),
    Meaning(
        "dead_experts",
        "Dead experts",
        "#{e : c_e = 0}, if enough was seen",
        f"0 slots, and the 95 % bound on the share below {DEAD_SHARE:.0%} of 1/E; else counted as under-sampled",
        "Clopper and Pearson 1934",
    ),
    Meaning(
        "undersampled_experts",
        "Under-sampled experts",
        "#{e : c_e = 0}, if too little was seen",
        f"0 slots, and the 95 % bound on the share still above {DEAD_SHARE:.0%} of 1/E",
        "Clopper and Pearson 1934",
    ),
    Meaning(
        "zero_share_bound",
        "Bound on a share of none",
        "1 − 0.05^(1/S)",
        "95 % upper bound on the true share of an expert without a slot",
        "Clopper and Pearson 1934",
    ),
    Meaning(
        "cold_experts",
        "Cold experts",
        f"#{{e : p_e < {COLD:.1%}}}",
        f"below {COLD:.1%} of all slots, dead ones included",
        "Clopper and Pearson 1934",
    ),
    Meaning(
        "hot_experts", "Hot experts", f"#{{e : p_e > {HOT:g}/E}}", f"above {HOT:g} times the uniform share", "moedesk"
    ),
    Meaning("top_eighth_share", "Share of the top eighth", "Σ of the ⌈E/8⌉ largest p_e", "1/8 when even", "standard"),
)


class Load:
    """Load over the rows at hand; where counts are kept for more passes than rows are, give it those."""

    meanings = (
        *(Meaning(m.key, m.name, m.formula, m.convention, m.source) for m in METRICS.values()),
        *_MORE,
    )

    def partial(self, rows: Rows) -> Sums:
        """Return the (E,) slots per expert of some rows."""
        ids = rows.experts
        return sums(counts=np.bincount(ids[ids >= 0].astype(np.int64), minlength=rows.layer.experts))

    combine = staticmethod(add)

    def values(self, partial: Sums, layer: LayerInfo) -> Mapping[str, float]:
        """Return every number of (E,) counts; NaN without slots."""
        return load_values(partial["counts"], layer.top_k)


def load_values(counts: Counts, top_k: int) -> dict[str, float]:
    """Return the numbers of ``Load`` for (E,) counts; NaN without slots."""
    values = {key: metric.of(counts) for key, metric in METRICS.items()}
    total, experts = int(counts.sum()), len(counts)
    if not total:
        return values | dict.fromkeys((meaning.key for meaning in _MORE), float("nan"))
    left = np.sort(counts)[: max(1, experts - top_k)]
    unused = float(np.count_nonzero(counts == 0))
    bound = 1 - 0.05 ** (1 / total)
    sampled = bound <= DEAD_SHARE / experts
    share = counts / total
    return values | {
        "maxvio_without_top_k": float(left.max() / left.mean() - 1) if left.any() else float("nan"),
        "dead_experts": unused if sampled else 0.0,
        "undersampled_experts": 0.0 if sampled else unused,
        "zero_share_bound": bound,
        "cold_experts": float(np.count_nonzero(share < COLD)),
        "hot_experts": float(np.count_nonzero(share > HOT / experts)),
        "top_eighth_share": float(np.sort(share)[-ceil(experts / 8) :].sum()),
    }


FACTORS = (1.0, 1.25, 2.0)
"""Capacity factors that ``PassLoad`` tries."""


class PassLoad:
    """What a batch at a time looks like: from the (passes, E) slots of each pass, which are exact for every pass."""

    meanings = (
        Meaning(
            "maxvio_batch",
            "MaxVio of a pass",
            "mean over passes of (max c − mean c) / mean c",
            "MaxVio_batch with a forward pass as the batch; passes with fewer than E slots left out",
            "arXiv 2408.15664",
        ),
        *(
            Meaning(
                f"drop_share_at_capacity_{factor:g}",
                f"Would be dropped at capacity {factor:g}",
                "Σ max(0, c_e − C) / S, C = ⌈T/E · factor · k⌉",
                f"capacity factor {factor:g}, each pass of at least E slots by itself, no minimum capacity; a what-if",
                "GShard, arXiv 2006.16668",
            )
            for factor in FACTORS
        ),
    )

    def partial(self, counts: npt.NDArray[np.integer], top_k: int) -> Sums:
        """Return the sums over (passes, E) counts; decoding steps, with fewer slots than experts, can't be even."""
        experts = counts.shape[1]
        counts = counts.astype(np.int64)
        counts = counts[counts.sum(1) >= experts]
        slots = counts.sum(1)
        mean = slots / experts
        over = []
        for factor in FACTORS:
            # Rounded before it is rounded up: 1.25 · 8 / 10 · … must not become one more by a last bit.
            capacity = np.ceil(np.round(slots / top_k / experts * factor * top_k, 9)).astype(np.int64)
            over.append(np.maximum(counts - capacity[:, None], 0).sum())
        violation = (counts.max(1) / mean - 1).sum() if len(counts) else 0.0
        return sums(passes=len(counts), violation=violation, slots=slots.sum(), over=np.array(over))

    combine = staticmethod(add)

    def values(self, partial: Sums, layer: LayerInfo) -> Mapping[str, float]:
        """Return the numbers; NaN without slots."""
        passes, slots = int(partial["passes"]), int(partial["slots"])
        if not passes:
            return dict.fromkeys((meaning.key for meaning in self.meanings), float("nan"))
        drops = {
            f"drop_share_at_capacity_{factor:g}": float(over) / slots
            for factor, over in zip(FACTORS, partial["over"], strict=True)
        }
        return {"maxvio_batch": float(partial["violation"]) / passes, **drops}
