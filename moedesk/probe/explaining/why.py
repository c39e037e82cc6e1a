"""Why a token went to its experts: what the router ranked, and its logits split over the parts of the residual stream."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from torch import nn

from moedesk.core.attribution import Component, TokenPlace, Why
from moedesk.core.errors import MoedeskError
from moedesk.probe.explaining.component_names import name_components
from moedesk.probe.explaining.logits_found import find_logits, read_again
from moedesk.probe.explaining.passage import Passage
from moedesk.probe.explaining.ranked import Ranked, ranked
from moedesk.probe.explaining.rerun import Progress, Rerun, as_written
from moedesk.probe.explaining.split import PathRun, Reached, split
from moedesk.probe.explaining.stream_path import StreamPath, find_path
from moedesk.probe.finding.binding import Binding

ALL_EXPERTS = 64
"""Up to so many experts the logits of all are split; of more, those chosen and the next ones."""
NEXT_ONES = 4

FROZEN = "every norm's scale, and every gate, is taken for given as it was at this token: the rest is linear"
OTHER_TOKENS = "what is read here is mixed over tokens on its way: contributions are of all of them"
ALONE = "the model was run again on this sequence alone, without a cache"


def why(
    model: nn.Module,
    passage: Passage,
    layer: int | str,
    experts: Sequence[int] | int | None = None,
    *,
    progress: Progress = lambda share, text: None,
) -> Why:
    """Explain the routing of a passage's last token at one layer.

    Runs the model three times on the passage. Nothing of it is recorded, and the model is left as it was.

    Parameters
    ----------
    model : Module
    passage : Passage
    layer : int or str
        Place or path of an MoE layer.
    experts : int or sequence of int, optional
        Experts whose logits are split, beside those chosen and the next ones. All are up to 64.
    progress : function, optional

    Raises
    ------
    MoedeskError
        If there is no such layer or expert, or the router's logits can't be followed.
    """
    progress(0.0, "running the model")
    with as_written(model), Rerun(model, passage) as rerun:
        (binding,) = rerun.layers(layer)
        asked = _checked(experts, binding)
        progress(0.3, "following the residual stream")
        path = find_path(find_logits(rerun, binding), binding.layer.router_path)
        if path.end.number not in path.operations:
            raise MoedeskError(
                f"{binding.layer.path}: its logits come from {path.end.name}, which can't be followed back"
            )
        progress(0.6, "splitting the logits")
        run = PathRun(path)
        with suppress(Reached), read_again(binding), run:
            rerun.run()
        return _explain(rerun, binding, path, run, asked)


def _checked(experts: Sequence[int] | int | None, binding: Binding) -> list[int]:
    asked = [] if experts is None else [experts] if isinstance(experts, int) else list(experts)
    for expert in asked:
        if isinstance(expert, bool) or not isinstance(expert, int) or not 0 <= expert < binding.layer.experts:
            raise MoedeskError(
                f"layer {binding.layer.place} has experts 0 to {binding.layer.experts - 1}, not {expert!r}"
            )
    return asked


def _explain(rerun: Rerun, binding: Binding, path: StreamPath, run: PathRun, asked: Sequence[int]) -> Why:
    passage, layer = rerun.passage, binding.layer
    routes = rerun.routes[layer.place]
    assert routes.logits is not None
    chosen, weights = rerun.routing(binding) or (np.zeros(0, np.int64), np.zeros(0, np.float32))
    order = ranked(binding, np.array(routes.logits[rerun.row], np.float64), chosen)
    shown = _shown(order, chosen, asked)
    parts = split(run, path, shown.tolist(), rerun.row)
    components = name_components(rerun.model, tuple(path.parts), [each.candidate.path for each in rerun.bindings])
    contributions = np.array([parts.contributions[places].sum(0) for places in path.parts.values()])
    if run.constants:
        components = (*components, Component("bias", "constant"))
        contributions = np.vstack([contributions, parts.biases])
    remainder = parts.explained - contributions.sum(0)
    found = Why(
        token=_token(passage),
        layer=layer.place,
        path=layer.path,
        score=layer.score,
        logits=order.logits,
        transformed=order.transformed,
        bias=order.bias,
        kept=order.kept,
        ranked=order.ranked,
        chosen=chosen,
        weights=weights.astype(np.float64),
        runner_up=order.runner_up,
        margin=order.margin,
        components=components,
        experts=shown,
        explained=parts.explained,
        contributions=contributions,
        remainder=remainder,
        tolerance=parts.tolerance,
        model=type(rerun.model).__name__,
        dtype=str(parts.dtype).removeprefix("torch."),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    elsewhere = [OTHER_TOKENS] if parts.elsewhere else []
    return replace(found, notes=(*_notes(found, rerun, binding, path), *elsewhere))


def _shown(order: Ranked, chosen: np.ndarray, asked: Sequence[int]) -> np.ndarray:
    """Experts whose logits are split, in the order of their numbers."""
    count = len(order.logits)
    if count <= ALL_EXPERTS:
        return np.arange(count)
    best = order.ranked if np.isfinite(order.ranked).any() else order.logits
    others = [expert for expert in np.argsort(-best, kind="stable").tolist() if expert not in chosen][:NEXT_ONES]
    return np.array(sorted({*chosen[chosen >= 0].tolist(), *others, *asked}), np.int64)


def _token(passage: Passage) -> TokenPlace:
    last = len(passage.ids) - 1
    return TokenPlace(
        passage.text,
        int(passage.ids[-1]),
        last,
        sequence=passage.sequence,
        column=passage.column,
        row=passage.row,
        stream=passage.stream,
    )


def _notes(found: Why, rerun: Rerun, binding: Binding, path: StreamPath) -> Iterator[str]:
    yield FROZEN
    yield ALONE
    if path.curves:
        names = " and ".join(path.curves)
        yield f"{names} on the way: its value over its argument is taken for given too"
    if binding.probabilities:
        yield "the router returns probabilities: logits are their logarithms, and what went into its softmax is split"
    if not found.complete:
        worst = int(np.abs(found.remainder).argmax())
        yield (
            f"the parts do NOT add up: {found.remainder[worst]:.3g} of {found.explained[worst]:.3g} is left of expert "
            f"{found.experts[worst]}, rounding explains {found.tolerance[worst]:.1g}"
        )
    before = rerun.passage.routes.get(binding.layer.place)
    if before is not None and set(before[0].tolist()) != set(found.chosen.tolist()):
        ids = ", ".join(map(str, before[0].tolist()))
        yield f"captured was another choice: {ids}; a batch, a cache or sampling may have made the difference"
    if found.runner_up >= 0 and found.margin < 0:
        yield "the router did not take the experts that it ranked highest: noise, a capacity, or sampling"
    yield from rerun.notes
