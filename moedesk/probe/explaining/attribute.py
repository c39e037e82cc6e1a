"""What each expert of a token did to a logit or log-probability: contributions, direct path, gradients, ablations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import isnan, nan, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moedesk.core.attribution import Attribution, Component, TokenPlace
from moedesk.core.errors import MoedeskError
from moedesk.probe.explaining.attention import attention_weights
from moedesk.probe.explaining.backward import Backward, Part, run_direct, run_gradient
from moedesk.probe.explaining.heard import heard_slots
from moedesk.probe.explaining.passage import Passage, target_id, text_of
from moedesk.probe.explaining.rerun import Progress, Rerun
from moedesk.probe.explaining.slots import Slots
from moedesk.probe.explaining.variants import Outcomes, Variant, Variants, ablated
from moedesk.probe.finding.binding import Binding
from moedesk.probe.overriding.rerouting import can_reroute

METHODS = ("direct", "gradient", "ablation", "norm")
VALUES = {"logit": "logit", "logprob": "log-probability", "log-probability": "log-probability"}


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
    with Rerun(model, passage) as rerun:
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
        direct = self._tried("direct", 0.15, lambda: run_direct(self._rerun, self._target))
        gradient = self._tried(
            "gradient", 0.3, lambda: run_gradient(self._rerun, lambda row: self._score(row[None])[0])
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
        table = _Table(self._rerun, self._chosen, slots)
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

    def _with_direct(self, found: Attribution, table: "_Table", direct: Backward) -> Attribution:
        components, parts, values = self._components(direct)
        slots = table.of(lambda place: direct.slots[place].added @ direct.anchors[place].gradient)
        size = sum(part.size for _, part in direct.branches) + abs(direct.constant)
        count = len(direct.branches) + int(np.isfinite(slots).sum()) + 2
        self._notes.append("direct: of the logit, with the final norm's scale as it is for this token")
        return replace(
            found,
            method="direct",
            direct=slots,
            components=components,
            component_norms=np.array([nan if part is None else float(part.value.norm()) for part in parts]),
            component_direct=values,
            logit=direct.target,
            explained=float(np.nansum(slots) + values.sum()),
            tolerance=2 * sqrt(count) * float(torch.finfo(_widest(self._rerun.model)).eps) * size,
        )

    def _with_gradient(self, found: Attribution, table: "_Table", gradient: Backward) -> Attribution:
        components, parts, values = self._components(gradient)
        slots = table.of(lambda place: gradient.slots[place].added @ gradient.anchors[place].gradient)
        self._notes.append(
            "gradient: gradient × contribution, the first order of what ablation does; it need not add up"
        )
        if found.method == "direct":
            known = dict(zip(components, values.tolist(), strict=True))
            values = np.array([known.get(component, nan) for component in found.components])
        else:
            found = replace(
                found,
                method="gradient",
                components=components,
                component_norms=np.array([nan if part is None else float(part.value.norm()) for part in parts]),
                explained=float(np.nansum(slots) + values.sum()),
            )
        embedding = gradient.embedding
        return replace(
            found,
            gradient=slots,
            component_gradient=values,
            gradient_norms=np.array(
                [float(gradient.anchors[p].gradient.norm()) if p in gradient.anchors else nan for p in self._places]
            ),
            stream_gradient_norms=np.array([float(row.norm()) for _, row in gradient.streams]),
            embedding_gradient_norms=np.zeros(0) if embedding is None else embedding.norm(dim=-1).numpy(),
        )

    def _with_ablation(
        self, found: Attribution, table: "_Table", outcomes: "tuple[list[tuple[int, int]], Outcomes]"
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

    def _components(self, heard: Backward) -> tuple[tuple[Component, ...], list[Part | None], np.ndarray]:
        """All but the slots of the chosen layers: branches, shared experts, what else their blocks add, biases of norms."""
        components: list[Component] = []
        parts: list[Part | None] = []
        values: list[float] = []

        def add(component: Component, part: Part | None, value: float) -> None:
            components.append(component)
            parts.append(part)
            values.append(value)

        for branch, part in heard.branches:
            split = [p for p in branch.places if p in heard.slots and p in self._places]
            if not split:
                add(branch.component, part, part.product)
                continue
            left, size = part.product, part.size
            for place in split:
                left -= float((heard.slots[place].added @ heard.anchors[place].gradient).sum())
                for path, shared in heard.shared.get(place, ()):
                    block = branch.component.block
                    add(Component(f"shared {block}", "shared", path, block), shared, shared.product)
                    left -= shared.product
            if abs(left) > 64 * torch.finfo(_widest(self._rerun.model)).eps * size:
                name = f"{branch.component.name}, the rest"
                add(Component(name, "other", branch.component.path, branch.component.block), None, left)
        if heard.constant:
            add(Component("biases", "constant"), None, heard.constant)
        return tuple(components), parts, np.array(values)


class _Table:
    """Arrays with a row for each chosen layer and a column for each slot."""

    def __init__(self, rerun: Rerun, chosen: Sequence[Binding], slots: Mapping[int, Slots]) -> None:
        routings = [rerun.routing(binding) for binding in chosen]
        self._places = [binding.layer.place for binding in chosen]
        self._slots = slots
        width = max((len(routing[0]) for routing in routings if routing is not None), default=0)
        self.experts = np.full((len(chosen), width), -1, np.int64)
        self.weights = np.full((len(chosen), width), nan)
        for row, routing in enumerate(routings):
            if routing is not None:
                self.experts[row, : len(routing[0])] = np.where(routing[0] < 0, -1, routing[0])
                self.weights[row, : len(routing[1])] = routing[1]

    def of(self, values: Callable[[int], Tensor]) -> np.ndarray:
        """(L, k) float64 of a layer's (k,) values, by its place; NaN where there is no slot."""
        table = np.full(self.experts.shape, nan)
        for row, place in enumerate(self._places):
            if place in self._slots:
                found = values(place).numpy()
                table[row, : len(found)] = found
        return np.where(self.experts >= 0, table, nan)


def place_of(passage: Passage) -> TokenPlace:
    """Return which token a passage explains."""
    return TokenPlace(
        text=passage.text,
        token_id=int(passage.ids[-1]),
        index=len(passage.ids) - 1,
        sequence=passage.sequence,
        column=passage.column,
        row=passage.row,
        stream=passage.stream if passage.row >= 0 else "",
    )


def _without(
    binding: Binding, routing: tuple[np.ndarray, np.ndarray], slot: int, slots: Slots | None
) -> Variant | None:
    """The variant without one slot: by its weight, or else by taking off what it gave; None if neither can be."""
    if can_reroute(binding):
        return ablated(binding, *routing, slot)
    if slots is None:
        return None
    return Variant(minus={binding.layer.place: (slots.module, slots.added[slot])})


def moved(rerun: Rerun) -> list[str]:
    """Return a line that says at which layers the token was routed otherwise when it was captured."""
    other = []
    for binding in rerun.bindings:
        captured, here = rerun.passage.routes.get(binding.layer.place), rerun.routing(binding)
        if captured is not None and here is not None and sorted(captured[0].tolist()) != sorted(here[0].tolist()):
            other.append(str(binding.layer.place))
    if not other:
        return []
    where = f"layer{'s' * (len(other) > 1)} {', '.join(other)}"
    return [f"at {where} the token goes to other experts now than when it was captured: explained is what it does now"]


def _sum_check(slots: Slots | None) -> tuple[float, float]:
    """Error and tolerance of the slots' sum, the block's if it was checked."""
    if slots is None:
        return nan, nan
    error, tolerance = slots.block
    return (slots.error, slots.tolerance) if np.isnan(error) or not slots.complete else (error, tolerance)


def _widest(model: nn.Module) -> torch.dtype:
    """The dtype in which most of a model is, by its parameters."""
    sizes: dict[torch.dtype, int] = {}
    for parameter in model.parameters():
        if parameter.is_floating_point():
            sizes[parameter.dtype] = sizes.get(parameter.dtype, 0) + parameter.numel()
    return max(sizes, key=lambda dtype: sizes[dtype], default=torch.float32)


def dtypes_of(model: nn.Module) -> str:
    """Return the dtypes of a model's parameters."""
    return ", ".join(sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters()}))
