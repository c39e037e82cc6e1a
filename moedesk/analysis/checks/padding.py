"""Tokens that look like padding and count all the same, and counts that are not those of the rows."""

from collections.abc import Iterator, Mapping

import numpy as np

from moedesk.analysis.checks.check import About, Check
from moedesk.analysis.checks.config import config_value
from moedesk.analysis.checks.evidence import Evidence
from moedesk.analysis.finding import Finding, Reveal
from moedesk.analysis.measures.measure import Sums, sums
from moedesk.analysis.measures.rows import Rows

COUNTED = 0.001
"""Share of tokens that look like padding, from which on it is said."""
FEWEST = 4


class PaddingCounted(Check):
    """Runs of the padding token that are not marked as padding."""

    counted = About(
        "padding-counted",
        "data",
        "padding that is counted as text",
        "warning",
        f"at least {FEWEST} tokens, and {COUNTED:.1%} of all, are the padding id (or what else is marked as padding), "
        "twice in a row in a sequence, and not marked",
    )
    abouts = (counted,)
    reads_rows = True

    def partial(self, rows: Rows) -> Sums:
        """Return how many tokens look like padding; seen once for each stream, at its first layer."""
        first = next(layer for layer in rows.store.model.layers if layer.stream == rows.layer.stream)
        if first.place != rows.layer.place:
            return sums(tokens=0, suspect=0)
        tokens = rows.all_tokens
        value = config_value(rows.store.model.config, "pad_token_id")
        ids = set(np.unique(tokens["token_id"][tokens["is_padding"]]).tolist()) - {-1}
        ids |= {value} if isinstance(value, int) and value >= 0 else set()
        alike = np.isin(tokens["token_id"], list(ids)) & ~tokens["is_padding"]
        on = alike[1:] & alike[:-1] & (tokens["sequence"][1:] == tokens["sequence"][:-1])
        run = np.append(on, False) | np.insert(on, 0, False) if len(alike) else alike
        return sums(tokens=np.count_nonzero(~tokens["is_padding"]), suspect=np.count_nonzero(run))

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return at most one finding."""
        tokens = sum(int(partial["tokens"]) for partial in partials.values())
        suspect = sum(int(partial["suspect"]) for partial in partials.values())
        if suspect < FEWEST or suspect < COUNTED * tokens:
            return
        yield self.counted.found(
            f"{suspect:,} tokens look like padding but count as text",
            {"tokens_affected": suspect, "tokens": tokens, "share_of_tokens": suspect / tokens},
            "Give the model an attention mask, so that padding is left out of every number here.",
            confidence=0.9,
            reveal=Reveal(filter="-is:padding"),
        )


class CountsDiffer(Check):
    """Exact counts that are not those of the rows, where all rows were kept and read."""

    differ = About(
        "counts-differ",
        "data",
        "counts that are not those of the tokens kept",
        "error",
        "any difference, where every row was kept and read",
        "counted",
    )
    abouts = (differ,)
    reads_rows = True

    def lacks(self, evidence: Evidence) -> str:
        """Return why nothing can be judged."""
        if evidence.rows_left_out or evidence.counts_only or evidence.sampled or not evidence.complete:
            return "not every token was kept or looked at, so the two can't be compared"
        return ""

    def partial(self, rows: Rows) -> Sums:
        """Return the (E,) slots of some rows."""
        ids = rows.experts
        return sums(counts=np.bincount(ids[ids >= 0].astype(np.int64), minlength=rows.layer.experts))

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding for each such layer."""
        if evidence.rows_left_out or evidence.counts_only or evidence.sampled or not evidence.complete:
            return
        for layer in evidence.layers:
            partial = partials.get(layer.layer.place)
            if partial is None or np.array_equal(partial["counts"], layer.counts):
                continue
            yield self.differ.found(
                f"The counts of layer {layer.layer.place} are not those of its tokens",
                {
                    "slots_by_counts": layer.slots,
                    "slots_by_tokens": int(partial["counts"].sum()),
                    "experts_that_differ": np.flatnonzero(partial["counts"] != layer.counts).tolist(),
                },
                "Was padding counted, or the file changed after it was recorded? Record again.",
                layer=layer.layer,
            )
