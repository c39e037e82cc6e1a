"""The exactness self-test: a model run with and without hooks, and every MoE layer tried with what was captured of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from torch import Tensor, nn

from moedesk.core.batch import LayerRoutes
from moedesk.core.columns import RouteFlag
from moedesk.core.errors import MoedeskError
from moedesk.core.verification import Check, CheckName, LayerVerification, Verdict, Verification
from moedesk.probe.exactness.adapted_trial import AdaptedTrial
from moedesk.probe.exactness.bits import first_difference
from moedesk.probe.exactness.kept import Kept
from moedesk.probe.exactness.layer_trial import LayerTrial
from moedesk.probe.exactness.own_logits import check_logits
from moedesk.probe.exactness.sample_input import sample_input
from moedesk.probe.exactness.untouched import Untouched
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.discovery import Candidate, LayerChoice, choose, find_candidates
from moedesk.probe.notice import notice
from moedesk.probe.taking.parallel import has_spread
from moedesk.probe.tracer import Tracer
from moedesk.probe.wanted import Wanted

PASSES = 3
"""With hooks."""

Progress = Callable[[str, float], None]
"""Told what is done now, and which share of all is done."""


def verify(
    model: nn.Module,
    tokenizer: Any = None,
    inputs: Mapping[str, Any] | None = None,
    *,
    layers: LayerChoice = None,
    progress: Progress | None = None,
) -> Verification:
    """Test that what moedesk captures of a model is what the model does.

    Runs a few forwards of a small batch: without hooks, with them, and once more to try each layer: whether its experts, run
    again with the captured ids and weights, give what they gave; whether switching one expert off changes exactly the token
    rows that chose it; whether counts and the model's own router logits agree. Nothing of it is recorded by what is attached,
    and the model is left as it was, also after an interrupt. No other thread may run the model meanwhile.

    Parameters
    ----------
    model : torch.nn.Module
    tokenizer : transformers tokenizer, optional
        For a batch of text; random tokens are taken without.
    inputs : mapping, optional
        Keyword arguments of the model's forward, in place of that batch: what a model needs that takes more than token ids.
    layers : sequence of int or str, or function, optional
        Layers to test; all if left out.
    progress : function, optional

    Returns
    -------
    Verification

    Raises
    ------
    NoMoELayersError
        If the model has no MoE layer.
    MoedeskError
        If the model can't run the inputs.
    """
    candidates = find_candidates(model)
    if has_spread(model):
        raise MoedeskError(
            f"{type(model).__name__} is spread over processes, which can't try its layers alone; verify it in one process"
        )
    if any(parameter.is_meta for parameter in model.parameters()):
        raise MoedeskError(
            f"parts of {type(model).__name__} are offloaded, and come only when it runs; verify it loaded as a whole"
        )
    chosen = choose(candidates, layers)
    if inputs is None:
        given, words = sample_input(model, tokenizer)
    else:
        given, words = dict(inputs), "inputs that were given"
    test = _Test(model, candidates, chosen, given, progress or (lambda text, share: None))
    began = time.monotonic()
    with Untouched(model) as untouched:
        test.run(untouched)
    checks = [*test.checks, _untouched_check(untouched)]
    notes = ["the model is in training mode; it was tested in evaluation mode"] if untouched.was_training else []
    return Verification(
        model=type(model).__name__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        conditions=f"{words} · {_describe(model)}",
        seconds=time.monotonic() - began,
        checks=tuple(checks),
        layers=tuple(test.layers),
        notes=(*notes, *test.notes),
    )


def tested(model: nn.Module, tokenizer: Any, layers: LayerChoice) -> Verification:
    """Return what the self-test of a model found, with a warning if it failed: for options of ``attach`` and ``record``."""
    found = verify(model, tokenizer, layers=layers)
    if found.verdict is Verdict.FAILED:
        notice(f"{found.model}: {found.summary}")
    return found


class _Test:
    """The runs of one self-test, and what they show."""

    def __init__(
        self,
        model: nn.Module,
        candidates: Sequence[Candidate],
        chosen: Sequence[Candidate],
        inputs: dict[str, Any],
        progress: Progress,
    ) -> None:
        self._model, self._candidates, self._chosen = model, candidates, chosen
        self._inputs, self._progress = inputs, progress
        self._kept = Kept()
        self._bindings: dict[str, Binding] = {}
        self.checks: list[Check] = []
        self.layers: list[LayerVerification] = []
        self.notes: list[str] = []

    def run(self, untouched: Untouched) -> None:
        """Run everything."""
        self._progress("without hooks", 0.0)
        try:
            plain, again = untouched.run(self._inputs), untouched.run(self._inputs)
        except (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise MoedeskError(
                f"{type(self._model).__name__} can't run these inputs ({reason}); give others: inputs={{'input_ids': …}}"
            ) from error
        self._progress("with hooks", 0.1)
        hooked = self._capture(untouched)
        self.checks.append(_outputs_check(plain, again, hooked))
        del plain, again, hooked
        self.checks.append(self._seen_check())
        trials = self._try_layers(untouched)
        self._progress("router logits", 0.95)
        logits = check_logits(untouched, self._model, self._inputs, self._captured(PASSES - 1))
        for candidate in self._chosen:
            trial = trials.get(candidate.path)
            if trial is None:
                self.layers.append(self._not_tried(candidate))
                continue
            place = trial.binding.layer.place
            checks = [*trial.found.checks.values(), self._counts_check(trial), logits[place]]
            self.layers.append(LayerVerification(candidate.block_path, candidate.path, tuple(checks)))
        self._progress("done", 1.0)

    def _capture(self, untouched: Untouched) -> list[Any]:
        """Run with hooks: the first pass finds layers, the second how experts are called, the third is like all later ones."""
        tracer = Tracer(self._model, self._candidates, self._chosen, None, Wanted(logits=True), self._kept)
        try:
            outputs = [untouched.run(self._inputs) for _ in range(PASSES)]
        finally:
            tracer.stop()
        self._bindings = {binding.candidate.path: binding for binding in tracer.bindings}
        self.notes += [line for line in self._kept.notes if line not in self.notes]
        if tracer.courier.failure is not None:
            raise MoedeskError(f"nothing could be verified: {tracer.courier.failure}")
        return outputs

    def _captured(self, which: int) -> list[LayerRoutes]:
        """What was captured in one of the passes, in the order of the layers."""
        routes = self._kept.batches[which].layers if len(self._kept.batches) > which else ()
        return sorted(routes, key=lambda layer: layer.layer)

    def _routes(self, binding: Binding, which: int = PASSES - 1) -> LayerRoutes | None:
        return next((routes for routes in self._captured(which) if routes.layer == binding.layer.place), None)

    def _try_layers(self, untouched: Untouched) -> "dict[str, LayerTrial | AdaptedTrial]":
        """Run once more, with every captured layer tried while the forward is in it."""
        trials: dict[str, LayerTrial | AdaptedTrial] = {}
        for path, binding in self._bindings.items():
            routes = self._routes(binding)
            if routes is not None and routes.experts is not None and routes.weights is not None:
                kind = LayerTrial if binding.adapter is None else AdaptedTrial
                seen = np.ones(len(routes.experts), bool)
                if (
                    binding.candidate.pool is not None and routes.flags is not None
                ):  # its experts get only the rows that they are for
                    seen = (routes.flags & RouteFlag.ABSENT) == 0
                trials[path] = kind(binding, routes.experts[seen], routes.weights[seen])
        handles = []
        try:
            for done, trial in enumerate(trials.values()):
                trial.attach()
                experts = trial.binding.candidate.experts
                share = 0.2 + 0.75 * done / len(trials)
                handles.append(experts.register_forward_pre_hook(self._teller(trial.binding.layer.path, share)))
            untouched.run(self._inputs)
        finally:
            for handle in handles:
                handle.remove()
            for trial in trials.values():
                trial.detach()
        for trial in trials.values():
            trial.finish()
        return trials

    def _teller(self, path: str, share: float) -> Callable[..., None]:
        def tell(module: nn.Module, args: Any) -> None:
            self._progress(path, share)

        return tell

    def _seen_check(self) -> Check:
        missing = [candidate.block_path for candidate in self._chosen if candidate.path not in self._bindings]
        found = f"{len(self._chosen) - len(missing)} of {len(self._chosen)} MoE layers of the module tree ran"
        if not missing:
            return Check(CheckName.LAYERS, Verdict.VERIFIED, found)
        text = f"{found}; not with these inputs: {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}"
        return Check(CheckName.LAYERS, Verdict.NOT_CHECKED, text)

    def _not_tried(self, candidate: Candidate) -> LayerVerification:
        if candidate.path not in self._bindings:
            text = "the layer did not run with these inputs; give inputs= that reach it"
        else:
            text = "only counts were captured: its rows are not the model's tokens"
        check = Check(CheckName.CAPTURED, Verdict.NOT_CHECKED, text)
        return LayerVerification(candidate.block_path, candidate.path, (check,))

    def _counts_check(self, trial: LayerTrial | AdaptedTrial) -> Check:
        """Captured counts against those of the ids that the experts got, padding left out as the inputs say."""
        layer = trial.binding.layer
        if not trial.ids:
            return Check(CheckName.COUNTS, Verdict.NOT_CHECKED, "its calls were not seen")
        ids = np.concatenate([part.numpy() for part in trial.ids])
        padding = self._padding(layer.stream, len(ids))
        taken = ids[~padding]
        expected = np.bincount(taken[taken >= 0], minlength=layer.experts)
        for which in range(PASSES):
            routes = self._routes(trial.binding, which)
            if routes is None:
                return Check(CheckName.COUNTS, Verdict.FAILED, f"pass {which} was not captured")
            if len(expected) != len(routes.counts) or (expected != routes.counts).any():
                wrong = np.flatnonzero(expected[: layer.experts] != routes.counts)
                expert = int(wrong[0]) if len(wrong) else len(expected) - 1
                counted = int(routes.counts[expert]) if expert < len(routes.counts) else 0
                text = f"expert {expert} got {expected[expert]:,} slots, {counted:,} were counted in pass {which}"
                return Check(CheckName.COUNTS, Verdict.FAILED, text)
        left_out = f", {int(padding.sum()):,} padding rows left out" if padding.any() else ""
        text = f"{int(expected.sum()):,} slots of {len(expected)} experts as the experts got them{left_out}"
        return Check(CheckName.COUNTS, Verdict.VERIFIED, text)

    def _padding(self, stream: str, rows: int) -> np.ndarray:
        """(rows,) padding, by the masks among the inputs; none where there is no mask over these rows."""
        mask = self._inputs.get("decoder_attention_mask" if stream == "decoder" else "attention_mask")
        if isinstance(mask, Tensor) and mask.ndim == 2 and mask.numel() == rows:
            return np.asarray(mask.reshape(-1).cpu().numpy() == 0)
        return np.zeros(rows, bool)


def _outputs_check(plain: Any, again: Any, hooked: Sequence[Any]) -> Check:
    """Outputs with hooks, bit by bit against those without; unless the model differs from itself."""
    apart = first_difference(plain, again)
    if apart:
        text = f"the model differs from itself without hooks: {apart}"
        return Check(CheckName.OUTPUTS, Verdict.NOT_CHECKED, text)
    for number, output in enumerate(hooked):
        apart = first_difference(plain, output)
        if apart:
            return Check(CheckName.OUTPUTS, Verdict.FAILED, f"with hooks, in pass {number}: {apart}")
    return Check(CheckName.OUTPUTS, Verdict.VERIFIED, "with hooks every output has the same bits as without")


def _untouched_check(untouched: Untouched) -> Check:
    if untouched.changed:
        more = f" (and {len(untouched.changed) - 1} more)" if len(untouched.changed) > 1 else ""
        text = f"the model's own forward changes it, in evaluation mode: {untouched.changed[0]}{more}"
        return Check(CheckName.UNTOUCHED, Verdict.NOT_CHECKED, text)
    text = "parameters, gradients, buffers, hooks and modes are what they were before"
    return Check(CheckName.UNTOUCHED, Verdict.VERIFIED, text)


def _describe(model: nn.Module) -> str:
    """How it ran: experts implementation, dtypes, devices."""
    config: Any = getattr(model, "config", None)
    implementation = getattr(config, "_experts_implementation", None)
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters()})
    devices = sorted({str(p.device) for p in model.parameters()})
    parts = [f"experts: {implementation}"] if isinstance(implementation, str) else []
    return " · ".join([*parts, ", ".join(dtypes), ", ".join(devices), "evaluation mode"])
