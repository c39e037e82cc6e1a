"""What a router ranked, step by step: logits, their transform, the bias of the choice, groups, and who just missed."""

from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt
import torch

from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.ranking import TRANSFORMS


@dataclass(frozen=True)
class Ranked:
    """One token at one layer; the attributes are those of ``core.attribution.Why``."""

    logits: npt.NDArray[np.float64]
    transformed: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]
    kept: npt.NDArray[np.bool_]
    ranked: npt.NDArray[np.float64]
    runner_up: int = -1
    margin: float = nan


def ranked(binding: Binding, logits: np.ndarray, chosen: np.ndarray) -> Ranked:
    """Return what was ranked, by the layer's rule; NaN where no rule is known.

    Parameters
    ----------
    binding : Binding
    logits : (E,) float
        As the model computed them.
    chosen : (k,) int
        Ids; -1 for a dropped slot.
    """
    rule, count = binding.rule, len(logits)
    unknown, none = np.full(count, nan), np.zeros(count)
    if rule is None:
        return Ranked(logits, unknown, none, np.ones(count, bool), unknown)
    given = torch.from_numpy(np.array(logits, np.float32))
    bias = torch.zeros(count)
    if rule.biased and binding.bias is not None:
        module, name = binding.bias
        bias = getattr(module, name).detach().float().cpu().flatten()
    transformed = TRANSFORMS[rule.transform](given)
    kept = rule.candidates(transformed + bias)
    scores = rule.scores(given, bias)
    taken = np.isin(np.arange(count), chosen)
    out_of_reach = taken | ~np.isfinite(scores.numpy())
    runner_up, margin = -1, nan
    if taken.any() and (chosen >= 0).all() and not out_of_reach.all():
        others = np.where(out_of_reach, -np.inf, scores.numpy())
        runner_up = int(others.argmax())
        margin = float(scores.numpy()[taken].min() - others[runner_up])
    wide = (transformed.double().numpy(), bias.double().numpy(), kept.numpy(), scores.double().numpy())
    return Ranked(logits, *wide, runner_up, margin)
