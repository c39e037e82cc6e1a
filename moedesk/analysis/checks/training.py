"""Training steps: losses that are no numbers, gradients that explode, experts that learn nothing."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from moedesk.analysis.checks.check import About, Check
from moedesk.analysis.checks.evidence import Evidence
from moedesk.analysis.finding import Finding, Reveal
from moedesk.analysis.measures.measure import Sums
from moedesk.core.store import Store

EXPLODED = 100.0
"""Times the layer's median gradient norm of all steps."""
STEPS = 5
"""Training steps that it takes to know what is usual."""


class Training(Check):
    """What the recorded training steps say."""

    loss = About(
        "bad-loss",
        "training",
        "a loss that is infinite, or that is NaN from some step on",
        "error",
        f"infinite in any step; or no number in the last {STEPS} steps after all before had one",
        "counted",
    )
    exploding = About(
        "exploding-gradients",
        "training",
        "experts whose gradient explodes",
        "error",
        f"infinite, or more than {EXPLODED:g} times the layer's median over experts and {STEPS} or more steps",
    )
    untrained = About(
        "untrained-expert",
        "training",
        "experts that get no gradient though others of their layer do",
        "warning",
        f"norm 0 in every measured step, at least {STEPS}",
        "counted",
    )
    abouts = (loss, exploding, untrained)

    def lacks(self, evidence: Evidence) -> str:
        """Return why nothing can be judged."""
        recorded = evidence.store is not None and evidence.store.n_steps
        return "" if recorded else "no training steps in this capture"

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return at most one finding of a loss, and one of a kind for each layer or expert."""
        store = evidence.store
        if store is None or not store.n_steps:
            return
        steps = store.read_steps()
        yield from self._losses(steps)
        for layer in store.model.layers:
            norms = store.gradients(layer)
            usual = _usual(norms)
            bad = np.isinf(norms) | (norms > EXPLODED * usual)
            for expert in np.flatnonzero(bad.any(0)).tolist():
                at = int(np.flatnonzero(bad[:, expert])[0])
                yield self.exploding.found(
                    f"The gradient of expert {layer.place}.{expert} explodes in step {steps['step'][at]}",
                    {
                        "first_step": int(steps["step"][at]),
                        "steps_affected": int(bad[:, expert].sum()),
                        "gradient_norm": float(norms[at, expert]),
                        "median_norm_of_layer": usual,
                    },
                    "Clip gradients, lower the learning rate, and look at the tokens of that step.",
                    layer=layer,
                    expert=expert,
                    reveal=_at(steps[at]),
                )
            yield from self._untrained(store, layer.place, norms)

    def _losses(self, steps: npt.NDArray[np.void]) -> Iterator[Finding]:
        loss = steps["loss"]
        unknown = np.isnan(loss)
        infinite = np.flatnonzero(np.isinf(loss))
        known = np.flatnonzero(~unknown)
        ended = len(known) >= STEPS and known[-1] == len(known) - 1 and len(loss) - len(known) >= STEPS
        if not len(infinite) and not ended:
            return
        at = int(infinite[0]) if len(infinite) else len(known)
        yield self.loss.found(
            f"The loss is no number in step {steps['step'][at]}",
            {
                "first_step": int(steps["step"][at]),
                "infinite_steps": len(infinite),
                "steps_without_loss": int(unknown.sum()),
                "steps": len(loss),
            },
            "Look at the step before: non-finite router values, exploding gradients; lower the learning rate.",
            confidence=1.0 if len(infinite) else 0.8,
            reveal=_at(steps[at]),
        )

    def _untrained(self, store: Store, place: int, norms: npt.NDArray[np.float32]) -> Iterator[Finding]:
        measured = norms[(norms > 0).any(1)]
        if len(measured) < STEPS:
            return
        for expert in np.flatnonzero((measured == 0).all(0)).tolist():
            yield self.untrained.found(
                f"Expert {place}.{expert} gets no gradient",
                {"steps": len(measured)},
                "It got no tokens, or is cut off from the loss: see its load; a balancing loss or bias brings it back.",
                layer=store.model.layers[place],
                expert=expert,
                reveal=Reveal("elements"),
            )


def _usual(norms: npt.NDArray[np.float32]) -> float:
    """The median of the norms that are known and not 0; infinite where too few steps are."""
    known = norms[np.isfinite(norms) & (norms > 0)]
    enough = len(known) and np.count_nonzero((norms > 0).any(1)) >= STEPS
    return float(np.median(known)) if enough else float("inf")


def _at(step: np.void) -> Reveal:
    return Reveal(first_pass=int(step["first_pass"]), last_pass=int(step["last_pass"]))
