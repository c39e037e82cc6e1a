"""What is found of one layer while it is tried: of each check the worst."""

import torch
from torch import Tensor

from moedesk.core.verification import Check, CheckName, Verdict


class Findings:
    """The checks of one layer.

    Attributes
    ----------
    checks : dict
        By name.
    """

    def __init__(self) -> None:
        self.checks: dict[str, Check] = {}

    def judge(self, name: CheckName, errors: Tensor, tolerance: float, what: str) -> None:
        """Compare (N,) errors of token rows with what is allowed."""
        worst = int(errors.argmax())
        error = float(errors[worst])
        before = self.checks.get(name)
        if before is not None and not before.error < error:
            return
        verdict = Verdict.VERIFIED if error <= tolerance else Verdict.FAILED
        where = (
            "" if verdict is Verdict.VERIFIED else f", first in token row {int(torch.nonzero(errors > tolerance)[0])}"
        )
        text = f"{what}: relative error {error:.1e} of {tolerance:.1e} allowed{where}"
        self.checks[name] = Check(name, verdict, text, error, tolerance)

    def succeed(self, name: CheckName, text: str) -> None:
        """Take a check that passed, unless something was found before."""
        self.checks.setdefault(name, Check(name, Verdict.VERIFIED, text))

    def skip(self, name: CheckName, text: str) -> None:
        """Say why a check was not made, unless it was before."""
        self.checks.setdefault(name, Check(name, Verdict.NOT_CHECKED, text))

    def fail(self, name: CheckName, text: str) -> None:
        """Take a check that failed, unless one did before."""
        self.take(Check(name, Verdict.FAILED, text))

    def take(self, check: Check) -> None:
        """Take a check, unless one of its name failed before."""
        before = self.checks.get(check.name)
        if before is None or before.verdict is not Verdict.FAILED:
            self.checks[check.name] = check

    def compare(self, given: tuple[Tensor, Tensor], captured: tuple[Tensor, Tensor], who: str) -> bool:
        """Check captured ids and weights, bit by bit, against those that a call had; return whether they are of its rows.

        Parameters
        ----------
        given, captured : ((N, k) int, (N, k) float32) tensors
            Negative ids where there is no expert; its weight is not looked at.
        who : str
            Says whose ids and weights they are: ``that the experts got``.
        """
        (ids, weights), (kept, kept_weights) = given, captured
        if kept.shape != ids.shape:
            self.fail(CheckName.CAPTURED, f"{len(kept):,} token rows were captured of a call that had {len(ids):,}")
            return False
        ids, weights = ids.clamp(min=-1), weights.masked_fill(ids < 0, 0)
        kept_weights = kept_weights.masked_fill((kept < 0) & (ids < 0), 0)
        wrong = (kept != ids).any(-1)
        wrong |= ((kept_weights != weights) & ~(kept_weights.isnan() & weights.isnan())).any(-1)
        if bool(wrong.any()):
            row = int(torch.nonzero(wrong).flatten()[0])
            self.fail(
                CheckName.CAPTURED,
                f"token row {row}: experts {ids[row].tolist()} with weights {_few(weights[row])} ran, "
                f"{kept[row].tolist()} with {_few(kept_weights[row])} was captured ({int(wrong.sum()):,} rows differ)",
            )
        else:
            self.succeed(CheckName.CAPTURED, f"ids and weights are those {who}, bit by bit")
        return True


def _few(weights: Tensor) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in weights.tolist()) + "]"
