"""Values that can't be right: NaN, and slots that lost their expert."""

from collections.abc import Iterator, Mapping

from moedesk.analysis.checks.check import About, Check
from moedesk.analysis.checks.evidence import Evidence
from moedesk.analysis.finding import Finding, Reveal
from moedesk.analysis.measures.measure import Sums

DROPPED_SHARE = 0.01
"""Dropping more than this share of the slots is a warning."""


class NonFinite(Check):
    """NaN and infinite weights and logits."""

    nonfinite = About("non-finite", "numbers", "NaN or infinite weights and logits", "error", "any", "counted")
    abouts = (nonfinite,)

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding for each such layer."""
        for layer in evidence.layers:
            if layer.nonfinite:
                yield self.nonfinite.found(
                    f"Layer {layer.layer.place} has NaN or infinite router values for {layer.nonfinite:,} tokens",
                    {"tokens_affected": layer.nonfinite, "tokens": layer.rows},
                    "Look at the first such pass; run the router in float32 or clip its input.",
                    layer=layer.layer,
                    reveal=Reveal(filter="is:nonfinite"),
                )


class Dropped(Check):
    """Slots that lost their expert to the capacity limit."""

    dropped = About(
        "dropped-tokens",
        "load",
        "slots without an expert, because of a capacity limit",
        "warning",
        f"more than {DROPPED_SHARE:.0%} of slots; less is an info",
    )
    abouts = (dropped,)

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding for each such layer."""
        for layer in evidence.layers:
            if not layer.dropped_slots:
                continue
            share = layer.dropped_slots / (layer.rows * layer.layer.top_k)
            yield self.dropped.found(
                f"Layer {layer.layer.place} dropped {share:.2%} of its slots",
                {
                    "dropped_slots": layer.dropped_slots,
                    "dropped_tokens": layer.dropped_tokens,
                    "tokens": layer.rows,
                    "share_of_slots": share,
                },
                "Raise the capacity factor or balance the load; filter Network by is:dropped to see the tokens.",
                layer=layer.layer,
                severity="warning" if share > DROPPED_SHARE else "info",
                reveal=Reveal(filter="is:dropped"),
            )
