"""Ranks that the others wait for."""

from collections.abc import Iterator, Mapping

from moedesk.analysis.checks.check import About, Check
from moedesk.analysis.checks.evidence import Evidence
from moedesk.analysis.finding import Finding, Reveal
from moedesk.analysis.measures.measure import Sums

IDLE = 0.1
"""Share of the time of all ranks that is waiting for the slowest, from which on it is said."""
PASSES = 5
"""Passes that every rank must have."""


class Straggler(Check):
    """A rank whose passes take longer than those of the others."""

    straggler = About(
        "straggler",
        "stability",
        "a rank whose passes take longer than the others'",
        "warning",
        f"1 − mean/max of the ranks' mean pass times above {IDLE:.0%}, {PASSES} passes each",
        "metrics d27",
    )
    abouts = (straggler,)

    def lacks(self, evidence: Evidence) -> str:
        """Return why nothing can be judged."""
        if len(evidence.ranks) < 2:
            return "one rank only"
        few = min(rank.passes for rank in evidence.ranks) < PASSES
        return f"a rank has fewer than {PASSES} passes" if few else ""

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return at most one finding."""
        ranks = evidence.ranks
        if len(ranks) < 2 or min(rank.passes for rank in ranks) < PASSES:
            return
        times = {rank.rank: rank.seconds / rank.passes for rank in ranks}
        slowest = max(times, key=lambda rank: times[rank])
        idle = 1 - sum(times.values()) / len(times) / times[slowest] if times[slowest] > 0 else 0.0
        if idle <= IDLE:
            return
        yield self.straggler.found(
            f"Rank {slowest} is slower than the others: they wait {idle:.0%} of the time",
            {
                "idle_share": idle,
                "mean_milliseconds_by_rank": {str(rank): 1000 * time for rank, time in times.items()},
                "tokens_by_rank": {str(rank.rank): rank.tokens for rank in ranks},
            },
            "If it has more tokens, its share of data or experts is larger (see metrics --by rank); else look at its device.",
            confidence=0.9,
            reveal=Reveal("network"),
        )
