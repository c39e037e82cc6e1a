"""What went wrong token by token: dropped slots, and values that are no numbers."""

from collections.abc import Mapping

import numpy as np

from moedesk.analysis.measures.measure import Meaning, Sums, add, ratio, sums
from moedesk.analysis.measures.rows import Rows
from moedesk.core.columns import RouteFlag
from moedesk.core.model import LayerInfo


class Faults:
    """Shares of slots and tokens."""

    meanings = (
        Meaning(
            "dropped_slot_share",
            "Dropped slots",
            "slots with no expert / (T·k)",
            "as dropped",
            "GShard, arXiv 2006.16668",
        ),
        Meaning(
            "dropped_token_share",
            "Tokens with a drop",
            "tokens with a drop / T",
            "at least one slot",
            "GShard, arXiv 2006.16668",
        ),
        Meaning(
            "nonfinite_token_share",
            "NaN or infinite",
            "tokens with a non-finite value / T",
            "weight or logit",
            "moedesk",
        ),
    )

    def partial(self, rows: Rows) -> Sums:
        """Return the sums of some rows."""
        dropped = (rows.flags & RouteFlag.DROPPED) != 0
        lost = np.count_nonzero(rows.experts[dropped] < 0) if dropped.any() else 0
        return sums(
            tokens=len(rows.flags),
            dropped=np.count_nonzero(dropped),
            lost=lost,
            nonfinite=np.count_nonzero(rows.flags & RouteFlag.NONFINITE),
        )

    combine = staticmethod(add)

    def values(self, partial: Sums, layer: LayerInfo) -> Mapping[str, float]:
        """Return the shares."""
        tokens = partial["tokens"]
        return {
            "dropped_slot_share": ratio(partial["lost"], tokens * layer.top_k),
            "dropped_token_share": ratio(partial["dropped"], tokens),
            "nonfinite_token_share": ratio(partial["nonfinite"], tokens),
        }
