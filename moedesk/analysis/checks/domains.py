"""What labelled texts do: a label that goes to one expert, experts that a label never uses."""

from collections.abc import Iterator, Mapping

import numpy as np

from moedesk.analysis.checks.check import About, Check
from moedesk.analysis.checks.evidence import Evidence
from moedesk.analysis.checks.shares import COLLAPSE_TOKENS, DEAD_SHARE, is_sampled
from moedesk.analysis.experts import share_interval
from moedesk.analysis.finding import Finding
from moedesk.analysis.measures.domains import Domains
from moedesk.analysis.measures.measure import Sums
from moedesk.analysis.measures.rows import Rows
from moedesk.core.label import names_of

ELSEWHERE = 0.5
"""A label goes to one expert if the tokens of the others do so less than this."""


class LabelledExperts(Check):
    """What each label's tokens use."""

    one_expert = About(
        "domain-on-one-expert",
        "load",
        "labels whose tokens nearly all go to one expert",
        "info",
        f"share of the label's tokens surely above {COLLAPSE_TOKENS:.0%}, by the 95 % Wilson interval, and below "
        f"{ELSEWHERE:.0%} elsewhere; where 2k ≤ E",
    )
    unused = About(
        "unused-in-domain",
        "load",
        "experts without a token of a label, though alive on others",
        "info",
        f"no slot of the label, and the share surely (95 %) below {DEAD_SHARE:.0%} of 1/E",
        "metrics d11; bound: Clopper and Pearson 1934",
    )
    abouts = (one_expert, unused)
    reads_rows = True

    def lacks(self, evidence: Evidence) -> str:
        """Return why nothing can be judged."""
        return "" if evidence.labels else "no labels: name texts while recording with rec.label, or with moedesk label"

    def partial(self, rows: Rows) -> Sums:
        """Return slots and tokens of each label."""
        return Domains(rows.store.labels).partial(rows)

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding for each label on one expert, and one for all unused experts of a layer."""
        names = names_of(evidence.labels)
        for layer in evidence.layers:
            partial = partials.get(layer.layer.place)
            if partial is None or not names:
                continue
            info = layer.layer
            unused = {}
            total = partial["counts"].sum(0)
            for name, counts, tokens in zip(names, partial["counts"], partial["tokens"].tolist(), strict=True):
                absent = np.flatnonzero((counts == 0) & (layer.counts > 0)).tolist()
                if absent and is_sampled(int(counts.sum()), info.experts):
                    unused[name] = absent
                expert = int(counts.argmax())
                low, high = share_interval(min(int(counts[expert]), tokens), tokens)
                others = int(partial["tokens"].sum()) - tokens
                elsewhere = (total[expert] - counts[expert]) / others if others else 0.0
                if 2 * info.top_k > info.experts or low <= COLLAPSE_TOKENS or not others or elsewhere >= ELSEWHERE:
                    continue
                yield self.one_expert.found(
                    f"Layer {info.place} sends nearly all of {name} to expert {expert}",
                    {
                        "label": name,
                        "tokens_of_label": tokens,
                        "interval_95": [low, high],
                        "share_elsewhere": float(elsewhere),
                    },
                    "Fine if the expert is meant for it; else it limits this kind of text to one expert's capacity.",
                    layer=info,
                    expert=expert,
                    confidence=0.975,
                )
            if unused:
                yield self.unused.found(
                    f"Layer {info.place} has experts that some labels never use",
                    {"unused_experts": unused},
                    "They are not dead: they live on other labels. Pruning by one label alone would hurt those.",
                    layer=info,
                    confidence=0.95,
                )
