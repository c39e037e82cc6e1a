"""How far the capture can be relied on: cut short, failed passes, too little seen."""

from collections.abc import Iterator, Mapping

import numpy as np

from moedesk.analysis.checks.check import About, Check
from moedesk.analysis.checks.evidence import Evidence
from moedesk.analysis.checks.shares import DEAD_SHARE, is_sampled, slots_needed
from moedesk.analysis.finding import Finding, Reveal
from moedesk.analysis.measures.measure import Sums
from moedesk.core.acted import first_few, passes_of
from moedesk.core.override import noted_titles


class Recording(Check):
    """Captures that weren't closed, passes that failed, and passes of which not all was kept."""

    incomplete = About("incomplete", "data", "a recording that was cut short", "warning", "not closed", "counted")
    failed = About("failed-passes", "data", "passes that raised an error", "warning", "any", "counted")
    left_out = About(
        "left-out", "data", "passes of which only counts, or a sample of tokens, were kept", "info", "any", "counted"
    )
    spared = About("spared-passes", "data", "passes without entropies and margins", "info", "any", "counted")
    abouts = (incomplete, failed, left_out, spared)

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return at most one finding of each kind."""
        if not evidence.complete:
            yield self.incomplete.found(
                "The recording was cut short",
                {"passes": evidence.passes, "notes": list(evidence.notes)},
                "What was saved is sound; record again if you need the rest.",
            )
        if evidence.failed:
            yield self.failed.found(
                f"{evidence.failed:,} of {evidence.passes:,} passes raised an error",
                {"failed_passes": evidence.failed, "passes": evidence.passes},
                "Filter Network by is:failed to see them; their later layers are missing.",
                reveal=Reveal(filter="is:failed"),
            )
        if evidence.counts_only or evidence.sampled:
            yield self.left_out.found(
                f"Not every token was kept: counts alone of {evidence.counts_only:,} passes, a sample of {evidence.sampled:,}",
                {
                    "counts_only_passes": evidence.counts_only,
                    "sampled_passes": evidence.sampled,
                    "passes": evidence.passes,
                },
                "Load is exact all the same; what looks at tokens saw those kept. Record without sampling to see all.",
                reveal=Reveal(filter="is:countsonly" if evidence.counts_only else ""),
            )
        if evidence.spared:
            yield self.spared.found(
                f"{evidence.spared:,} of {evidence.passes:,} passes came too fast for entropies and margins",
                {"spared_passes": evidence.spared, "passes": evidence.passes},
                "What is found of entropies and margins is found of the other passes; experts, weights and load are all there. "
                "To have all, record to a file, which the model waits for, or run it slower.",
                reveal=Reveal(filter="is:spared"),
            )


class Overridden(Check):
    """Passes that did not run as the model would: overrides acted on them."""

    overridden = About(
        "overridden",
        "data",
        "passes that ran under overrides, not as the model would by itself",
        "info",
        "any",
        "counted",
    )
    abouts = (overridden,)

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return one finding for all of them."""
        titles = [one.override.title for one in evidence.overrides] or list(noted_titles(evidence.notes))
        if not titles:
            return
        counted = passes_of(evidence.overrides)
        some = f"{counted:,} of {evidence.passes:,}" if evidence.overrides else "Some"
        yield self.overridden.found(
            f"{some} passes ran under overrides",
            {
                **({"overridden_passes": counted} if evidence.overrides else {}),
                "passes": evidence.passes,
                "overrides": first_few(titles),
            },
            "What is found of these layers may be the overrides' doing and not the model's: to judge the model, record again "
            "without them. Filter Network by is:overridden to see the rows that they changed.",
            reveal=Reveal(filter="is:overridden"),
        )


class LittleData(Check):
    """Layers of which too little was seen to tell a dead expert from an unlucky one."""

    little = About(
        "too-little-data",
        "data",
        "layers not sampled enough to judge their experts",
        "info",
        f"95 % bound on the share of an expert without a slot still above {DEAD_SHARE:.0%} of 1/E",
        "Clopper and Pearson 1934",
    )
    abouts = (little,)

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return one finding for all such layers."""
        short = [layer for layer in evidence.layers if not is_sampled(layer.slots, layer.layer.experts)]
        if not short:
            return
        unseen = {
            layer.layer.path: np.flatnonzero(layer.counts == 0).tolist() for layer in short if (layer.counts == 0).any()
        }
        needed = max(slots_needed(layer.layer.experts) for layer in short)
        yield self.little.found(
            f"{len(short)} of {len(evidence.layers)} layers are not sampled enough to judge their experts",
            {
                "layers": len(short),
                "slots_min": min(layer.slots for layer in short),
                "slots_needed": needed,
                "unseen_experts": unseen,
            },
            f"Record at least {needed:,} slots a layer (tokens × top-k); experts not seen so far may only be rare.",
        )
