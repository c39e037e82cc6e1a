"""How sure a router was: entropy and margin of every row, from its logits. On whatever device they are."""

from torch import Tensor

from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.probabilities import to_logits
from moedesk.probe.finding.ranking import entropies, margins


def as_logits(binding: Binding, values: Tensor) -> Tensor:
    """Return float32 logits: what the router gave as such, or those whose softmax it gave."""
    return to_logits(values) if binding.probabilities else values.float()


def entropy_and_margin(
    binding: Binding, ids: Tensor, values: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return (…,) entropy and margin and (…, E) float32 logits.

    Parameters
    ----------
    binding : Binding
    ids : (…, k) int
        -1 where a slot was dropped.
    values : (…, E) float
        What the router gave as its logits.
    bias : Tensor or None
        What it adds to its scores; broadcasts to them.
    """
    values = as_logits(binding, values)
    entropy, powers, totals = entropies(values)
    rule = binding.rule
    if rule is None:
        return entropy, None, values
    if rule.is_softmax:
        return entropy, margins(powers, ids) / totals, values
    shares = powers.div_(totals.unsqueeze(-1)) if rule.transform == "softmax" else None
    return entropy, margins(rule.scores(values, bias, shares), ids), values
