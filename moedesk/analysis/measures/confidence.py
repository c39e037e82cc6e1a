"""How sure a router is of its choice, and what its losses would say: d9, d10 and d12."""

from collections.abc import Mapping
from math import log

import numpy as np
import numpy.typing as npt

from moedesk.analysis.measures.measure import Meaning, Sums, add, ratio, sums
from moedesk.analysis.measures.rows import Rows
from moedesk.core.model import LayerInfo

NEAR_TIE = 1e-4
"""A margin below this can flip with another engine's rounding."""


class Confidence:
    """Entropy and margin of tokens."""

    meanings = (
        Meaning(
            "token_entropy",
            "Token entropy",
            "mean_t −Σ q ln q, q = softmax(z)",
            "nats, over all E experts; mean over tokens with a known entropy",
            "standard",
        ),
        Meaning(
            "token_entropy_normalized",
            "Normalised token entropy",
            "token entropy / ln E",
            "over all E experts; 1 is undecided",
            "standard",
        ),
        Meaning(
            "margin_mean",
            "Mean margin",
            "mean_t score(rank k) − score(rank k+1)",
            "in the score that the router ranks by, bias and groups included",
            "standard",
        ),
        Meaning(
            "near_tie_share",
            "Near ties",
            f"share of tokens with margin < {NEAR_TIE:g}",
            "of tokens with a known margin",
            "moedesk",
        ),
        Meaning(
            "weight_sum_mean",
            "Sum of weights",
            "mean_t Σ_k w",
            "weights as the experts received them; non-finite rows left out",
            "moedesk",
        ),
        Meaning(
            "token_entropy_topk",
            "Top-k entropy",
            "mean_t −Σ v ln v, v = w / Σ w",
            "nats, over the k applied weights renormalised; rows with a negative or no weight left out",
            "standard",
        ),
    )

    def partial(self, rows: Rows) -> Sums:
        """Return the sums of some rows."""
        entropy, margin = _known(rows.entropy), _known(rows.margin)
        weights = rows.weights.astype(np.float64)
        total = weights.sum(1)
        finite = np.isfinite(total)
        shared = finite & (weights >= 0).all(1) & (total > 0)
        shares = weights[shared] / total[shared, None]
        inner = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(1)
        return sums(
            entropy=entropy.sum(), entropies=len(entropy), margin=margin.sum(), margins=len(margin),
            near=np.count_nonzero(margin < NEAR_TIE), weight=total[finite].sum(), weights=np.count_nonzero(finite),
            inner=inner.sum(), inners=len(inner),
        )  # fmt: skip

    combine = staticmethod(add)

    def values(self, partial: Sums, layer: LayerInfo) -> Mapping[str, float]:
        """Return the means."""
        entropy = ratio(partial["entropy"], partial["entropies"])
        return {
            "token_entropy": entropy,
            "token_entropy_normalized": entropy / log(layer.experts) if layer.experts > 1 else float("nan"),
            "margin_mean": ratio(partial["margin"], partial["margins"]),
            "near_tie_share": ratio(partial["near"], partial["margins"]),
            "weight_sum_mean": ratio(partial["weight"], partial["weights"]),
            "token_entropy_topk": ratio(partial["inner"], partial["inners"]),
        }


class Losses:
    """Auxiliary losses, as trainers compute them, and the mass of the chosen experts. They need recorded logits."""

    meanings = (
        Meaning(
            "aux_loss_switch",
            "Auxiliary loss (f·P)",
            "E Σ_e f_e P_e, f = c/(T·k), P = mean_t softmax(z)",
            "1 at perfect balance (Switch, Megatron-LM, DeepSpeed top-k, OLMo-core); needs recorded logits",
            "Switch Transformers, arXiv 2101.03961",
        ),
        Meaning(
            "aux_loss_mixtral",
            "Auxiliary loss (Mixtral form)",
            "E Σ_e (c_e/T) P_e",
            "k at perfect balance (Hugging Face; one layer, where the trainer joins all); needs recorded logits",
            "transformers",
        ),
        Meaning(
            "z_loss",
            "z-loss",
            "mean_t (logsumexp_e z)²",
            "natural logarithm; needs recorded logits",
            "ST-MoE, arXiv 2202.08906",
        ),
        Meaning(
            "topk_mass",
            "Top-k mass",
            "mean_t Σ_{e chosen} softmax(z)_e",
            "of the experts applied, not of the largest logits; needs recorded logits",
            "standard",
        ),
    )

    def partial(self, rows: Rows) -> Sums:
        """Return the sums of the rows whose logits are finite."""
        logits = rows.logits
        experts = rows.layer.experts
        if logits is None:
            return sums(tokens=0)
        finite = np.isfinite(logits).all(1)
        z = logits[finite].astype(np.float64)
        ids = rows.experts[finite]
        highest = z.max(1, keepdims=True) if len(z) else np.zeros((0, 1))
        powers = np.exp(z - highest)
        norm = powers.sum(1, keepdims=True)
        shares = powers / norm
        taken = np.where(ids >= 0, np.take_along_axis(shares, np.maximum(ids, 0).astype(np.int64), 1), 0)
        return sums(
            tokens=len(z),
            counts=np.bincount(ids[ids >= 0].astype(np.int64), minlength=experts),
            shares=shares.sum(0),
            z=np.square(highest[:, 0] + np.log(norm[:, 0])).sum(),
            mass=taken.sum(),
        )

    combine = staticmethod(add)

    def values(self, partial: Sums, layer: LayerInfo) -> Mapping[str, float]:
        """Return the losses; NaN without logits."""
        tokens = int(partial["tokens"])
        if not tokens:
            return dict.fromkeys((meaning.key for meaning in self.meanings), float("nan"))
        product = float((partial["counts"] / tokens * partial["shares"] / tokens).sum() * layer.experts)
        return {
            "aux_loss_switch": product / layer.top_k,
            "aux_loss_mixtral": product,
            "z_loss": ratio(partial["z"], tokens),
            "topk_mass": ratio(partial["mass"], tokens),
        }


def _known(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return values[np.isfinite(values)].astype(np.float64)
