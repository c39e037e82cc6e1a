"""What the router does: routers that can't decide, and such as always decide the same."""

from collections.abc import Iterator, Mapping

from moedesk.analysis.checks.check import About, Check
from moedesk.analysis.checks.evidence import NEAR_TIE, STUCK_IDS, STUCK_RUN, Evidence
from moedesk.analysis.finding import Finding, Reveal
from moedesk.analysis.measures.measure import Sums

UNDECIDED_ENTROPY = 0.98
"""A router is undecided if its mean token entropy ÷ ln E is at least this …"""
UNDECIDED_MARGIN = 0.2
"""… and, where it ranks by softmax, its mean margin × E is below this, …"""
UNDECIDED_TOKENS = 30
"""… over at least so many tokens."""
FLIPPING = 0.01
"""Near ties are said from this share of the tokens on, …"""
MOSTLY_FLIPPING = 0.5
"""… and are a warning from this one on."""
FEWEST_MARGINS = 100


class UndecidedRouter(Check):
    """Routers whose probabilities are nearly even, so that chance and rounding pick the experts."""

    undecided = About(
        "undecided-router",
        "router",
        "routers that hardly tell their experts apart",
        "warning",
        f"mean token entropy at least {UNDECIDED_ENTROPY} of ln E over {UNDECIDED_TOKENS} tokens, and, where softmax ranks, "
        f"mean margin below {UNDECIDED_MARGIN}/E",
    )
    abouts = (undecided,)

    def lacks(self, evidence: Evidence) -> str:
        """Return why nothing can be judged."""
        known = any(layer.entropy_rows >= UNDECIDED_TOKENS for layer in evidence.layers)
        return "" if known else f"the router's entropy is known of fewer than {UNDECIDED_TOKENS} tokens"

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding for each such layer."""
        for layer in evidence.layers:
            entropy, margin = layer.token_entropy, layer.mean_margin
            is_even = layer.entropy_rows >= UNDECIDED_TOKENS and entropy >= UNDECIDED_ENTROPY
            has_margins = layer.layer.score == "softmax" and margin * layer.layer.experts >= UNDECIDED_MARGIN
            if not is_even or has_margins:
                continue
            yield self.undecided.found(
                f"The router of layer {layer.layer.place} hardly tells its experts apart",
                {
                    "mean_token_entropy_over_ln_experts": entropy,
                    "mean_margin": margin,
                    "margin_score": layer.layer.score,
                    f"share_of_margins_below_{NEAR_TIE:g}": layer.near_ties / layer.margin_rows
                    if layer.margin_rows
                    else None,
                    "tokens": layer.entropy_rows,
                },
                "Check the router's scale and learning rate; expect other engines and precisions to pick other experts here.",
                layer=layer.layer,
                confidence=0.95,
                reveal=Reveal(filter=f"margin<{margin:.2g}"),
            )


class NearTies(Check):
    """Choices that numerical noise can flip."""

    ties = About(
        "near-ties",
        "router",
        "choices that the rounding of the model's dtype can flip",
        "info",
        f"margin below 4 · precision · √(1 + place of the layer) / k in at least {FLIPPING:.0%} of tokens; from "
        f"{MOSTLY_FLIPPING:.0%} on a warning",
        "docs/diff.md: the noise of weights, measured on the sample model; the k-th largest probability is at most 1/k",
    )
    abouts = (ties,)

    def lacks(self, evidence: Evidence) -> str:
        """Return why nothing can be judged."""
        if not any(layer.noise for layer in evidence.layers):
            return "the model's dtype is unknown, and so its rounding"
        known = any(layer.margin_rows >= FEWEST_MARGINS for layer in evidence.layers)
        return "" if known else f"margins are known of fewer than {FEWEST_MARGINS} tokens"

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding for each such layer."""
        for layer in evidence.layers:
            if layer.margin_rows < FEWEST_MARGINS or not layer.flippable >= FLIPPING * layer.margin_rows:
                continue
            share = layer.flippable / layer.margin_rows
            yield self.ties.found(
                f"{share:.1%} of the choices of layer {layer.layer.place} are within rounding of another",
                {
                    "share_of_tokens": share,
                    "margin_below": layer.noise,
                    "mean_margin": layer.mean_margin,
                    "tokens": layer.margin_rows,
                },
                "Expect another engine, batch or precision to pick other experts for these tokens; run the router in float32.",
                layer=layer.layer,
                confidence=0.9,
                severity="warning" if share >= MOSTLY_FLIPPING else "info",
                reveal=Reveal(filter=f"margin<{layer.noise:.2g}"),
            )


class StuckRouter(Check):
    """Routers that gave the very same scores to different tokens in a row."""

    stuck = About(
        "stuck-router",
        "router",
        "routers whose scores stay the same whatever the token",
        "error",
        f"entropy and margin equal, bit for bit, for {STUCK_RUN} tokens in a row, of at least {STUCK_IDS} different ids",
    )
    abouts = (stuck,)

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding for each such layer."""
        for layer in evidence.layers:
            if layer.stuck_run >= STUCK_RUN:
                yield self.stuck.found(
                    f"The router of layer {layer.layer.place} ignores its input for {layer.stuck_rows:,} tokens",
                    {
                        "tokens_affected": layer.stuck_rows,
                        "longest_run_tokens": layer.stuck_run,
                        "tokens": layer.rows,
                    },
                    "Look at the first such token: is the router's input constant there (a cache, a mask, zeros)?",
                    layer=layer.layer,
                    reveal=Reveal(token=layer.stuck_at, stream=layer.layer.stream),
                )
