"""What each expert of a token did to a logit or log-probability: contributions, direct path, gradients, ablations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import isnan, nan, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moedesk.core.attribution import Attribution
from moedesk.core.errors import MoedeskError
from moedesk.probe.explaining.attention import attention_weights
from moedesk.probe.explaining.backward import Backward, run_direct, run_gradient
from moedesk.probe.explaining.branches import DirectPath, find_direct_path
from moedesk.probe.explaining.components import components_of
from moedesk.probe.explaining.dtypes import dtypes_of, widest
from moedesk.probe.explaining.heard import heard_slots
from moedesk.probe.explaining.passage import Passage, place_of, target_id, text_of
from moedesk.probe.explaining.rerun import Progress, Rerun, as_written, moved
from moedesk.probe.explaining.sides import refuse_encoder
from moedesk.probe.explaining.slot_table import SlotTable
from moedesk.probe.explaining.slots import Slots
from moedesk.probe.explaining.variants import Outcomes, Variant, Variants, ablated
from moedesk.probe.finding.binding import Binding
from moedesk.probe.overriding.rerouting import can_reroute

METHODS = ("direct", "gradient", "ablation", "norm")
VALUES = {"logit": "logit", "logprob": "log-probability", "log-probability": "log-probability"}

FROZEN = (
    "direct: of the logit, with norms' scales, and all that streams are mixed with (gates, hyper-connections), as they are at "
    "this token"
)


def attribute(
    model: nn.Module,
    passage: Passage,
    tokenizer: Any = None,
    *,
    layer: Any = None,
    target: int | str | None = None,
    value: str = "logit",
    method: str | Sequence[str] = METHODS,
    progress: Progress = lambda share, text: None,
) -> Attribution:
    """Return what each expert that a token went to did to a target at that token.

    The model runs again on the sequence up to the token, a batch of one, without what is attached and without overrides; it is
    left as it was, also after an interrupt.

    Parameters
    ----------
    model : Module
    passage : Passage
        The token, and those before it.
    tokenizer : transformers tokenizer, optional
    layer : place, path or list of these, optional
        MoE layers; all if left out.
    target : int or str, optional
        The token whose logit it is; the one that came next if left out, or the model's best if none is known.
    value : {"logit", "logprob"}
        What gradients and ablations are of. Direct contributions are always of the logit.
    method : str or sequence of str
        Some of ``METHODS``.
    progress : function, optional

    Raises
    ------
    MoedeskError
        If there is no such layer, target or method, or the model can't be run on token ids alone.
    """
    methods = _methods(method)
    if value not in VALUES:
        raise MoedeskError(f"value={value!r} is neither 'logit' nor 'logprob'")
    progress(0.0, "finding the layers")
    with as_written(model), Rerun(model, passage) as rerun:
        refuse_encoder(rerun.side, "attribute")
        logits = rerun.logits.double()
        wanted = target_id(target, passage, tokenizer, len(logits))
        chosen = rerun.layers(layer)
        number = int(logits.argmax()) if wanted is None else wanted
        work = _Work(rerun, chosen, number, VALUES[value], methods, progress)
        found = work.result(tokenizer)
    notes = () if wanted is not None else ("no next token is known: the target is the model's best",)
    return replace(found, notes=(*notes, *found.notes))


def _methods(given: str | Sequence[str]) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    wrong = [name for name in names if name not in METHODS]
    if wrong or not names:
        raise MoedeskError(f"no method {', '.join(map(repr, wrong)) or 'at all'}; there are {', '.join(METHODS)}")
    return tuple(name for name in METHODS if name in names)


class _Work:
    """The runs of one attribution."""

    def __init__(
        self,
        rerun: Rerun,
        chosen: Sequence[Binding],
        target: int,
        value: str,
        methods: Sequence[str],
        progress: Progress,
    ) -> None:
        self._rerun, self._chosen, self._target, self._value = rerun, chosen, target, value
        self._methods, self._progress = methods, progress
        self._notes: list[str] = [*rerun.notes, *moved(rerun)]
        self._places = [binding.layer.place for binding in chosen]

    def result(self, tokenizer: Any) -> Attribution:
        """Run everything."""
        path = self._path()
        direct = (
            None if path is None else self._tried("direct", 0.2, lambda: run_direct(self._rerun, path, self._target))
        )
        gradient = self._tried(
            "gradient", 0.3, lambda: run_gradient(self._rerun, path, lambda row: self._score(row[None])[0])
        )
        slots, problems = self._slots(direct or gradient)
        self._notes += [f"layer {p}: {problems[p]}" for p in self._places if p in problems]
        curved = [str(p) for p in self._places if p in slots and isnan(slots[p].factor)]
        if curved:
            self._notes.append(
                f"layers {', '.join(curved)}: a norm or a projection follows the experts; norms are of what they give"
            )
        outcomes = self._ablate(slots)
        self._progress(0.95, "attention weights")
        attention, blocks, how = attention_weights(self._rerun)
        self._notes.append(how)
        table = SlotTable(self._rerun, self._chosen, slots)
        found = Attribution(
            token=place_of(self._rerun.passage),
            target_id=self._target,
            target_text=text_of(tokenizer, self._target),
            target=self._value,
            method="norm",
            layers=np.array(self._places, np.int64),
            experts=table.experts,
            weights=table.weights,
            norms=table.of(lambda place: slots[place].sizes),
            attention=attention,
            attention_blocks=blocks,
            sum_errors=np.array([_sum_check(slots.get(p))[0] for p in self._places]),
            sum_tolerances=np.array([_sum_check(slots.get(p))[1] for p in self._places]),
            value=float(self._score(self._rerun.logits.double()[None])[0]),
            logit=float(self._rerun.logits[self._target]),
            model=type(self._rerun.model).__name__,
            dtype=dtypes_of(self._rerun.model),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        if direct is not None:
            found = self._with_direct(found, table, direct)
        if gradient is not None:
            found = self._with_gradient(found, table, gradient)
        if outcomes is not None:
            found = self._with_ablation(found, table, outcomes)
        if found.method == "direct" and not found.complete:
            self._notes.insert(
                0,
                f"the direct contributions do NOT add up to the logit: {found.residual:.3g} is left, rounding explains "
                f"{found.tolerance:.1g}; something mixes the stream in a way that is not followed",
            )
        self._progress(1.0, "done")
        return replace(found, notes=tuple(dict.fromkeys(line for line in self._notes if line)))

    def _score(self, logits: Tensor) -> Tensor:
        """(n,) targets of (n, V) logits."""
        if self._value == "log-probability":
            logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
            logits = logits.log_softmax(-1)
        return logits[:, self._target]

    def _path(self) -> DirectPath | None:
        """The way to the logits, if it is asked for and can be followed."""
        if not {"direct", "gradient"} & set(self._methods):
            return None
        self._progress(0.1, "following the residual stream")
        try:
            return find_direct_path(self._rerun)
        except MoedeskError as error:
            self._notes.append(f"no direct contributions, and nothing beside the slots: {error}")
            return None

    def _tried(self, name: str, share: float, run: Callable[[], Backward]) -> Backward | None:
        if name not in self._methods:
            return None
        self._progress(share, f"{name} path" if name == "direct" else name)
        try:
            found = run()
        except MoedeskError as error:
            self._notes.append(f"{name}: {error}")
            return None
        self._notes += found.notes
        return found

    def _slots(self, heard: Backward | None) -> tuple[Mapping[int, Slots], Mapping[int, str]]:
        if heard is not None:
            return heard.slots, heard.problems
        return heard_slots(self._rerun)

    def _ablate(self, slots: Mapping[int, Slots]) -> "tuple[list[tuple[int, int]], Outcomes] | None":
        """True runs without each slot that has a weight; those without one need none."""
        if "ablation" not in self._methods:
            return None
        places, variants, subtracted = [], [], []
        for row, binding in enumerate(self._chosen):
            routing = self._rerun.routing(binding)
            if routing is None:
                continue
            for slot in np.flatnonzero((routing[0] >= 0) & (routing[1] != 0)).tolist():
                variant = _without(binding, routing, slot, slots.get(binding.layer.place))
                if variant is not None:
                    places.append((row, slot))
                    variants.append(variant)
                    subtracted += [binding.layer.place] * bool(variant.minus)
        outcomes = Variants(self._rerun).run(
            variants, self._score, lambda share, text: self._progress(0.4 + 0.5 * share, f"ablation: {text}")
        )
        self._notes.append(f"ablation: {outcomes.note}; effects are with minus without, and do not add up")
        for place in dict.fromkeys(subtracted):
            self._notes.append(
                f"layer {place}: its gate weights can't be written, so what a slot gave was taken off its output instead"
            )
        return places, outcomes

    def _with_direct(self, found: Attribution, table: SlotTable, direct: Backward) -> Attribution:
        rest = components_of(direct, self._places, widest(self._rerun.model))
        slots = table.of(lambda place: direct.slots[place].added @ direct.anchors[place].gradient)
        for place in (place for place in self._places if place in direct.unreached):
            slots[self._places.index(place)] = nan
            self._notes.append(
                f"layer {place}: what follows its experts is no sum, so they have no direct path to the logit"
            )
        size = sum(part.size for _, part in direct.branches) + abs(direct.constant)
        count = len(direct.branches) + int(np.isfinite(slots).sum()) + 2
        self._notes.append(FROZEN)
        return replace(
            found,
            method="direct",
            direct=slots,
            components=rest.names,
            component_norms=rest.norms,
            component_direct=rest.products,
            logit=direct.target,
            explained=float(np.nansum(slots) + rest.products.sum()),
            tolerance=2 * sqrt(count) * float(torch.finfo(widest(self._rerun.model)).eps) * size,
        )

    def _with_gradient(self, found: Attribution, table: SlotTable, gradient: Backward) -> Attribution:
        rest = components_of(gradient, self._places, widest(self._rerun.model))
        slots = table.of(lambda place: gradient.slots[place].added @ gradient.anchors[place].gradient)
        self._notes.append(
            "gradient: gradient × contribution, the first order of what ablation does; it need not add up"
        )
        if found.method == "direct":
            known = dict(zip(rest.names, rest.products.tolist(), strict=True))
            products = np.array([known.get(component, nan) for component in found.components])
        else:
            products = rest.products
            found = replace(
                found,
                method="gradient",
                components=rest.names,
                component_norms=rest.norms,
                explained=float(np.nansum(slots) + rest.products.sum()),
            )
        embedding = gradient.embedding
        return replace(
            found,
            gradient=slots,
            component_gradient=products,
            gradient_norms=np.array(
                [float(gradient.anchors[p].gradient.norm()) if p in gradient.anchors else nan for p in self._places]
            ),
            stream_gradient_norms=np.array([float(row.norm()) for _, row in gradient.streams]),
            embedding_gradient_norms=np.zeros(0) if embedding is None else embedding.norm(dim=-1).numpy(),
        )

    def _with_ablation(
        self, found: Attribution, table: SlotTable, outcomes: "tuple[list[tuple[int, int]], Outcomes]"
    ) -> Attribution:
        places, runs = outcomes
        effects = np.where(table.experts >= 0, 0.0, nan)
        missing = {(row, slot) for row, slot in np.argwhere((table.experts >= 0) & (table.weights != 0)).tolist()}
        for at in missing - set(places):
            effects[at] = nan
        for at, effect in zip(places, runs.effects.tolist(), strict=True):
            effects[at] = effect
        if found.method == "norm":
            found = replace(found, method="ablation", explained=float(np.nansum(effects)))
        return replace(found, ablation=effects, noise=runs.noise)


def _without(
    binding: Binding, routing: tuple[np.ndarray, np.ndarray], slot: int, slots: Slots | None
) -> Variant | None:
    """The variant without one slot: by its weight, or else by taking off what it gave; None if neither can be."""
    if can_reroute(binding):
        return ablated(binding, *routing, slot)
    if slots is None:
        return None
    return Variant(minus={binding.layer.place: (slots.module, slots.added[slot])})


def _sum_check(slots: Slots | None) -> tuple[float, float]:
    """Error and tolerance of the slots' sum, the block's if it was checked."""
    if slots is None:
        return nan, nan
    error, tolerance = slots.block
    return (slots.error, slots.tolerance) if np.isnan(error) or not slots.complete else (error, tolerance)
