"""What a router ranks its experts by: observed once in the operations of a first call, then matched with a closed formula."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode, _get_current_function_mode

from moedesk.probe.finding.modes import begin_anew

_RANKERS = {"topk", "argmax", "max", "sort", "argsort"}
_ADDERS = {"add", "__add__", "__radd__", "add_", "__iadd__"}

TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits: logits.softmax(-1),
    "sigmoid": torch.sigmoid,
    "logits": torch.clone,
    "sqrt(softplus)": lambda logits: functional.softplus(logits).sqrt(),
}


class RankingObserver(TorchFunctionMode):
    """Keeps, while it is entered, what was ranked and what was added: the evidence for ``fit_rule``.

    Attributes
    ----------
    ranked : list of (Tensor, int)
        Inputs of top-k, argmax and the like (copied), with the number taken.
    added : list of Tensor
        Operands of additions, as they were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ranked: list[tuple[Tensor, int]] = []
        self.added: list[Tensor] = []
        self._entered = self._over = False

    @property
    def ended(self) -> bool:
        """Whether it was stopped."""
        return self._over

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._over:
            return func(*args, **kwargs)
        if func is begin_anew:
            self.forget()
            return func()
        name = getattr(func, "__name__", "")
        if name in _RANKERS and args and isinstance(args[0], Tensor) and args[0].is_floating_point():
            taken = kwargs.get("k", args[1] if len(args) > 1 else 1) if name == "topk" else 1
            with torch._C.DisableTorchFunction():  # others that watch take it for an operation of the block's
                self.ranked.append((args[0].detach().clone(), int(taken)))
        elif name in _ADDERS:
            self.added.extend(value for value in args if isinstance(value, Tensor))
        return func(*args, **kwargs)

    def forget(self) -> None:
        """Forget what was seen: the call begins anew."""
        self.ranked.clear()
        self.added.clear()

    def start(self) -> None:
        """Begin to observe."""
        if not self._entered:
            self._entered = True
            self.__enter__()

    def stop(self) -> bool:
        """End observing; return False if another mode was entered since and has to be left first, or in another thread."""
        self._over = True
        if self._entered and _get_current_function_mode() is self:
            self.__exit__(None, None, None)
            self._entered = False
        return not self._entered


@dataclass(frozen=True)
class Rule:
    """The score a router ranks by, as a formula over its logits.

    Attributes
    ----------
    transform : str
        Key of ``TRANSFORMS``.
    biased : bool
        Whether a bias per expert is added after the transform.
    groups, kept : int
        Experts are in ``groups`` equal groups of which ``kept`` are candidates; 0 for no groups.
    pair : bool
        Whether a group is ranked by the sum of its two best scores, else by its best.
    masked : float
        Score of experts in the other groups: -inf, or 0 in families that let a zero compete.
    """

    transform: str
    biased: bool = False
    groups: int = 0
    kept: int = 0
    pair: bool = True
    masked: float = float("-inf")

    @property
    def label(self) -> str:
        """As shown, e.g. ``sigmoid+bias, 4 of 8 groups``."""
        text = self.transform + ("+bias" if self.biased else "")
        return f"{text}, {self.kept} of {self.groups} groups" if self.groups else text

    @property
    def is_softmax(self) -> bool:
        """Whether the score is softmax(logits) and nothing else."""
        return self.transform == "softmax" and not self.biased and not self.groups

    def scores(self, logits: Tensor, bias: Tensor | None, shares: Tensor | None = None) -> Tensor:
        """Return the (…, E) scores for (…, E) float32 logits and a bias that broadcasts to them.

        ``shares`` is softmax(logits), where it is known already; the result may be that very tensor, never ``logits``.
        """
        known = shares is not None and self.transform == "softmax"
        scores = shares if shares is not None and known else TRANSFORMS[self.transform](logits)
        if self.biased and bias is not None:
            scores = scores + bias
        if not self.groups:
            return scores
        return scores.masked_fill(~self.candidates(scores), self.masked)

    def candidates(self, scores: Tensor) -> Tensor:
        """Return (…, E) which experts are in the groups that are kept, by their scores before the other groups are masked."""
        if not self.groups:
            return torch.ones_like(scores, dtype=torch.bool)
        grouped = scores.unflatten(-1, (self.groups, -1))
        best = grouped.topk(2, dim=-1).values.sum(-1) if self.pair else grouped.amax(-1)
        kept = torch.zeros_like(best, dtype=torch.bool).scatter(-1, best.topk(self.kept, dim=-1).indices, True)
        return kept.unsqueeze(-1).expand_as(grouped).flatten(-2)


def entropies(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (…,) entropies of softmax(logits) in nats, and what they are made of: (…, E) powers and their (…,) totals.

    Softmax is powers ÷ totals; who needs a few of its values only saves the division. An expert with logit -inf has no share; NaN
    and +inf give NaN. Made of operations that PyTorch runs in the calling thread as long as they are small, as its own softmax
    doesn't, and as few of them as it takes: each reads all logits once more.
    """
    below = (logits - logits.amax(-1, keepdim=True)).clamp_(min=-1e4)
    powers = below.exp()
    totals = powers.sum(-1)
    # -Σ p·log p with p = power / total and log p = below - log total
    return totals.log() - torch.linalg.vecdot(powers, below) / totals, powers, totals


def margins(scores: Tensor, ids: Tensor) -> Tensor:
    """Return (…,) the lowest score chosen minus the highest not chosen.

    That is the margin between ranks k and k+1 of a router that takes its best k; below zero where it did not (sampling,
    noise). Experts that the router excluded (score -inf) are no candidates. NaN where nothing else could be chosen, or a
    slot was dropped.

    Parameters
    ----------
    scores : (…, E) float32
        Overwritten: a copy would double the cost.
    ids : (…, k) int
        -1 where a slot was dropped.
    """
    whole = ids.is_cpu and (not ids.numel() or int(ids.amin()) >= 0)  # on a GPU to ask would be to wait
    dropped = None if whole else ids.amin(-1) < 0
    ids = ids.long()
    ids = ids if whole else ids.clamp(min=0)
    chosen = scores.gather(-1, ids)
    least = chosen.amin(-1)
    other = scores.scatter_(-1, ids, chosen.fill_(float("-inf"))).amax(-1)  # five times as fast as scattering a number
    margin = least - other
    if dropped is None and _is_finite(margin):
        return margin
    unknown = other == float("-inf")
    return torch.where(unknown if dropped is None else unknown | dropped, torch.nan, margin)


def _is_finite(values: Tensor) -> bool:
    """Whether all values are finite: their sum is only if they are, and may overflow. Waits for a device."""
    return math.isfinite(float(values.sum()))


@dataclass(frozen=True)
class Evidence:
    """What a first call showed about a router.

    Attributes
    ----------
    logits : (N, E) float tensor
    ids : (N, k) int64 tensor
    observer : RankingObserver
    biases : mapping
        Tensors of E elements near the router, by the name under which they can be read again.
    """

    logits: Tensor
    ids: Tensor
    observer: RankingObserver
    biases: Mapping[str, Tensor] = field(default_factory=dict)


def fit_rule(evidence: Evidence) -> tuple[Rule, str] | None:
    """Return the rule that gives both the observed scores and the observed choice, and the name of its bias ("" for none).

    None if no known formula does.
    """
    rows, experts = evidence.logits.shape
    logits = evidence.logits.detach().float()
    for seen, _ in reversed(evidence.observer.ranked):
        if seen.numel() != rows * experts or seen.shape[-1] != experts:
            continue
        observed = seen.reshape(rows, experts)
        for rule, name in _rules(evidence):
            bias = evidence.biases[name].detach().float().flatten() if name else None
            if _agrees(rule.scores(logits, bias), observed) and _chooses(rule.scores(logits, bias), evidence.ids):
                return rule, name
    return None


def declared_rule(transform: str, logits: Tensor, ids: Tensor) -> Rule | None:
    """Return the rule that ranks by a transform of the logits alone, if there is one by this name and it gives this choice."""
    rule = Rule(transform)
    return rule if transform in TRANSFORMS and _chooses(rule.scores(logits.float(), None), ids) else None


def _rules(evidence: Evidence) -> Iterator[tuple[Rule, str]]:
    """The formulas to try, the likely ones first."""
    added = {tensor.data_ptr() for tensor in evidence.observer.added}
    used = [name for name, tensor in evidence.biases.items() if tensor.data_ptr() in added]
    # A bias that is still zero changes no score, so it only counts where it was seen in an addition.
    other = [name for name, tensor in evidence.biases.items() if name not in used and bool((tensor != 0).any())]
    shapes = [*_groupings(evidence), (0, 0)]
    for name in (*used, "", *other):
        for transform in TRANSFORMS:
            for groups, kept in shapes:
                for pair in (True, False) if groups else (True,):
                    for masked in (float("-inf"), 0.0) if groups else (0.0,):
                        yield Rule(transform, bool(name), groups, kept, pair, masked), name


def _groupings(evidence: Evidence) -> list[tuple[int, int]]:
    """Numbers of groups and of those kept, from rankings of fewer columns than there are experts."""
    rows, experts = evidence.logits.shape
    found = dict.fromkeys(
        (seen.shape[-1], taken)
        for seen, taken in evidence.observer.ranked
        if 1 < seen.shape[-1] < experts
        and experts % seen.shape[-1] == 0
        and seen.numel() == rows * seen.shape[-1]
        and taken < seen.shape[-1]
    )
    return [(groups, kept) for groups, kept in found if experts // groups >= 2]


def _tolerance(dtype: torch.dtype) -> float:
    return max(1e-5, 2 * torch.finfo(dtype).eps)


def _agrees(scores: Tensor, observed: Tensor) -> bool:
    tolerance = _tolerance(observed.dtype)
    return torch.allclose(scores, observed.float(), rtol=tolerance, atol=tolerance)


def _chooses(scores: Tensor, ids: Tensor) -> bool:
    """Whether the k best scores are those of the ids, ties aside."""
    kept = (ids >= 0).all(-1)
    if not bool(kept.any()):
        return False
    best = scores[kept].topk(ids.shape[-1], dim=-1).values
    chosen = scores[kept].gather(-1, ids[kept]).sort(-1, descending=True).values
    return torch.allclose(best, chosen, rtol=1e-5, atol=1e-5)
