"""Entropies and margins of many rows on the host, worked out in parts that one thread does in its cache.

What it costs is to read the logits again and again, the exponential, and PyTorch's own microseconds an operation. So operations
write into memory that is there, powers are those of two, which take half as long as ``exp``, and what concerns whole rows is done
for all of them at the end. Where this gives no number (an expert without a share, a logit that is none), the rows are done
over by ``certainty``, which knows all cases.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.ranking import TRANSFORMS, Rule, margins
from moedesk.probe.taking.certainty import as_logits, entropy_and_margin
from moedesk.probe.taking.reused import MEMORY

SERIAL = 32768
"""Elements up to which PyTorch works in the calling thread (``at::internal::GRAIN_SIZE``): with more, the courier would take
cores from the model, and leave the cache."""


class _Part(NamedTuple):
    """N rows of each of L layers, and where what is found of them goes.

    Attributes
    ----------
    values : (L, N, E) float tensor
    ids : (L, N, k) int tensor
    bias : (L, 1, E) float32 tensor or None
    total : (L, N) float32 tensor
        Σ p of the powers p.
    entropy : (L, N) float32 tensor
        At first Σ p·log₂ p.
    margin, best : (L, N) float32 tensor
        At first what the least of the chosen and the best of the others are ranked by.
    """

    values: Tensor
    ids: Tensor
    bias: Tensor | None
    total: Tensor
    entropy: Tensor
    margin: Tensor
    best: Tensor


class _Scratch:
    """Memory for the work on a part."""

    def __init__(self, part: _Part) -> None:
        slots = tuple(part.ids.shape)
        self.values, self.exponents, self.powers = MEMORY.empty((3, *part.values.shape), torch.float32).unbind()
        self.top = MEMORY.empty((*slots[:2], 1), torch.float32)
        self.places, self.chosen = MEMORY.empty(slots, torch.int64), MEMORY.empty(slots, torch.float32)
        self.nothing = torch.full(slots, -math.inf)


def entropies_and_margins(
    binding: Binding, ids: Tensor, logits: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return (L, N) float32 entropies and margins, as ``certainty.entropy_and_margin`` defines them.

    Parameters
    ----------
    binding : Binding
        Of one of the layers.
    ids : (L, N, k) int tensor
        -1 where a slot was dropped.
    logits : (L, N, E) float tensor
        What their routers gave as logits.
    bias : (L, 1, E) float32 tensor or None
    """
    rule = binding.rule
    columns = MEMORY.empty((4, *ids.shape[:2]), torch.float32).unbind()
    parts = _parts(ids, logits, bias, columns)
    # Where a slot was dropped or nothing else could be chosen there is no margin; groups leave experts out.
    plain = rule is not None and not rule.groups and ids.shape[-1] < logits.shape[-1] and int(ids.amin()) >= 0
    works: dict[torch.Size, _Scratch] = {}
    for part in parts:
        work = works.get(part.ids.shape) or works.setdefault(part.ids.shape, _Scratch(part))
        values = _floats(binding, part.values, work)
        torch.amax(values, -1, keepdim=True, out=work.top)
        torch.sub(values, work.top, out=work.exponents).mul_(math.log2(math.e))
        torch.exp2(work.exponents, out=work.powers)
        torch.sum(work.powers, -1, out=part.total)
        torch.sum(work.exponents.mul_(work.powers), -1, out=part.entropy)
        if rule is not None and plain:
            _compare(_ranked(rule, values, part, work), part, work)
        elif rule is not None:
            shares = work.powers.div_(part.total.unsqueeze(-1)) if rule.transform == "softmax" else None
            part.margin.copy_(margins(rule.scores(values, part.bias, shares), part.ids))
    for row_columns in zip(*(column.view(-1).split(SERIAL) for column in columns), strict=True):
        _finish(rule if plain else None, bias is not None, *row_columns)
    _, entropy, margin, _ = columns
    if not (_are_numbers(entropy) and (not plain or _are_numbers(margin))):
        for part in parts:
            if not (_are_numbers(part.entropy) and (not plain or _are_numbers(part.margin))):
                _do_over(binding, part)
    return entropy, None if rule is None else margin


def _parts(ids: Tensor, logits: Tensor, bias: Tensor | None, columns: Sequence[Tensor]) -> list[_Part]:
    """Parts of as many logits as one thread does best: some layers, or some rows of one."""
    most = SERIAL if torch.get_num_threads() > 1 else 2 * SERIAL  # of a single thread only the cache sets a limit
    rows, experts = logits.shape[1:]
    layers = max(1, most // (rows * experts))
    pieces = -(-rows * experts // most)

    def cut(tensor: Tensor) -> list[Tensor]:
        return [part for some in tensor.split(layers) for part in some.split(-(-rows // pieces), 1)]

    values = cut(logits)
    biases: Sequence[Tensor | None] = [None] * len(values)
    if bias is not None:
        biases = [some for some in bias.split(layers) for _ in range(len(values) // len(bias.split(layers)))]
    return [_Part(*part) for part in zip(values, cut(ids), biases, *map(cut, columns), strict=True)]


def _floats(binding: Binding, values: Tensor, work: _Scratch) -> Tensor:
    if values.dtype == torch.float32 or binding.probabilities:
        return as_logits(binding, values)
    return work.values.copy_(values)


def _ranked(rule: Rule, values: Tensor, part: _Part, work: _Scratch) -> Tensor:
    """What ranks the experts as the score does, and may be written to; ``_finish`` makes scores of two of its values."""
    if not rule.biased or part.bias is None:
        return work.powers if rule.transform == "softmax" else work.exponents.copy_(values)
    if rule.transform == "softmax":
        return work.powers.div_(part.total.unsqueeze(-1)).add_(part.bias)
    if rule.transform == "sigmoid":
        return torch.sigmoid(values, out=work.exponents).add_(part.bias)
    return TRANSFORMS[rule.transform](values).add_(part.bias)


def _compare(ranked: Tensor, part: _Part, work: _Scratch) -> None:
    """Find the least of the chosen and the best of the others."""
    places = work.places.copy_(part.ids)
    torch.gather(ranked, -1, places, out=work.chosen)
    torch.amin(work.chosen, -1, out=part.margin)
    torch.amax(ranked.scatter_(-1, places, work.nothing), -1, out=part.best)


def _finish(rule: Rule | None, biased: bool, total: Tensor, entropy: Tensor, margin: Tensor, best: Tensor) -> None:
    """Make entropies, and margins if ``rule`` is given, of what was found of each row."""
    entropy.div_(total).mul_(-math.log(2))
    if rule is not None and (biased and rule.biased):
        margin.sub_(best)
    elif rule is not None and rule.transform == "softmax":
        margin.sub_(best).div_(total)
    elif rule is not None:
        margin.copy_(TRANSFORMS[rule.transform](margin)).sub_(TRANSFORMS[rule.transform](best))
    entropy.add_(total.log_())


def _do_over(binding: Binding, part: _Part) -> None:
    """Work out a part once more, slowly and in all cases."""
    entropy, margin, _ = entropy_and_margin(binding, part.ids, part.values, part.bias)
    part.entropy.copy_(entropy)
    if margin is not None:
        part.margin.copy_(margin)


def _are_numbers(values: Tensor) -> bool:
    """Whether all values are finite: then their sum is, unless it is very large."""
    return math.isfinite(float(values.sum()))
