"""Whether switching one expert off changes exactly the token rows that chose it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moedesk.core.verification import Check, CheckName, Verdict
from moedesk.probe.exactness.bits import differing_rows

RunLayer = Callable[[int | None], Tensor]
"""Runs a layer again on the same input, with one expert switched off, or none; returns (N, D)."""


@dataclass(frozen=True)
class Expected:
    """What the captured routing says about one call of a layer; all on the host.

    Attributes
    ----------
    ids : (N, k) int64
    sizes : (N, k) float64
        Largest absolute value that each slot adds to the experts' output.
    epsilon : float
        Machine epsilon of the output's dtype.
    tolerance : float
        Allowed between two runs of a layer that does not repeat itself bit by bit, relative to a row's largest value.
    """

    ids: Tensor
    sizes: Tensor
    epsilon: float
    tolerance: float


def chosen_experts(ids: Tensor, experts: int) -> list[int]:
    """Return the expert that was chosen most often, the one least often, and one never, as far as there are such."""
    counts = torch.bincount(ids[ids >= 0].flatten(), minlength=experts)
    used = torch.nonzero(counts).flatten()
    if not len(used):
        return []
    ordered = used[counts[used].argsort(stable=True)]
    unused = torch.nonzero(counts == 0).flatten()
    return list(dict.fromkeys([int(ordered[-1]), int(ordered[0]), *([int(unused[0])] if len(unused) else [])]))


def check_switched_off(run: RunLayer, expected: Expected, experts: Sequence[int], where: str) -> Check:
    """Switch each of some experts off alone, and compare the rows that changed with those that chose it.

    A row that chose the expert may stay as it is where what the expert added is lost in rounding: a weight of 0, an output of 0.

    Parameters
    ----------
    run : function
    expected : Expected
    experts : sequence of int
        Experts to switch off.
    where : str
        What ``run`` returns, in words: ``the block's output``.
    """
    reference = run(None)
    again = run(None)
    exact = not bool(differing_rows(reference, again).any())
    if not exact and bool(_far_rows(reference, again, expected.tolerance).any()):
        return Check(CheckName.SWITCHED_OFF, Verdict.NOT_CHECKED, "the layer gives another output the second time")
    unused = 0
    for expert in experts:
        chose = (expected.ids == expert).any(-1)
        unused += not bool(chose.any())
        output = run(expert)
        changed = (
            differing_rows(reference, output) if exact else _far_rows(reference, output, expected.tolerance)
        ).cpu()
        leaked = torch.nonzero(changed & ~chose).flatten()
        if len(leaked):
            return _failed(
                f"switching expert {expert} off changed {len(leaked):,} token rows that did not choose it "
                f"(the first: row {int(leaked[0])}, which chose {expected.ids[leaked[0]].tolist()})"
            )
        silent = chose & ~changed & ~_lost_in_rounding(expected, expert, reference, exact)
        if bool(silent.any()):
            row = int(torch.nonzero(silent).flatten()[0])
            return _failed(
                f"switching expert {expert} off changed nothing in {int(silent.sum()):,} of the {int(chose.sum()):,} token "
                f"rows that chose it (the first: row {row}, which chose {expected.ids[row].tolist()})"
            )
    how = (
        ""
        if exact
        else f"; the layer doesn't repeat itself bit by bit, so rows within {expected.tolerance:.1e} count as equal"
    )
    never = "" if not unused else ", one of them unused"
    text = f"{len(experts)} experts{never}: exactly the token rows that chose them changed in {where}{how}"
    return Check(CheckName.SWITCHED_OFF, Verdict.VERIFIED, text)


def _lost_in_rounding(expected: Expected, expert: int, reference: Tensor, exact: bool) -> Tensor:
    """(N,) rows to which an expert added less than the output can show, or whose output is not finite anyway."""
    added = torch.where(expected.ids == expert, expected.sizes, 0.0).sum(-1)
    values = reference.detach().cpu().double()
    broken = ~torch.isfinite(values).all(-1) | ~torch.isfinite(added)
    # What an output shows of an addend is half a unit of its last place, where its value is largest.
    shown = (expected.epsilon if exact else expected.tolerance) * torch.nan_to_num(values).abs().amax(-1)
    return broken | (added <= shown)


def _far_rows(one: Tensor, other: Tensor, tolerance: float) -> Tensor:
    apart = (one.double() - other.double()).abs().amax(-1)
    return apart > tolerance * one.double().abs().amax(-1)


def _failed(text: str) -> Check:
    return Check(CheckName.SWITCHED_OFF, Verdict.FAILED, text)
