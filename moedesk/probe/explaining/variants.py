"""What becomes of a token if it takes another route: true runs of the model in which only this token's routing is changed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.explaining.forced import forced
from moedesk.probe.explaining.rerun import Progress, Rerun, logits_of
from moedesk.probe.explaining.slots import replaced
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.parts import first_tensor
from moedesk.probe.overriding.rerouting import Change, Rerouting, can_reroute
from moedesk.probe.overriding.way import Way

MOST_ROWS = 64
"""Variants that run as rows of one batch."""
CACHE_BYTES = 1 << 28
"""Most that the keys and values of such a batch take."""

Score = Callable[[Tensor], Tensor]
"""Takes (n, V) float64 logits of the token on the host; returns (n,) numbers."""


@dataclass(frozen=True, eq=False)
class Route:
    """Which experts the token goes to at a layer, and with which weights.

    Attributes
    ----------
    ids : (k,) int64 tensor
        -1 for no expert.
    weights : (k,) float tensor
    """

    ids: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False)
class Variant:
    """What is changed for the token in one run.

    Attributes
    ----------
    routes : mapping of int to Route
        By the layer's place: what its experts get instead.
    forced : mapping of int to (k,) int64 tensor
        Experts that a layer's own selection is made to choose; weights are what it makes of them.
    minus : mapping of int to (Module, (D,) tensor)
        Taken off the token's row of a module's output: for layers whose routing can't be written.
    """

    routes: Mapping[int, Route] = field(default_factory=dict)
    forced: Mapping[int, Tensor] = field(default_factory=dict)
    minus: Mapping[int, tuple[nn.Module, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What some variants gave.

    Attributes
    ----------
    values : (n,) float64
    unchanged : (n,) float64
        Of the token as it is, run in the same way: in the same batch, if the variants ran in batches.
    noise : float
        Largest difference between two equal rows of a batch, or between the token as it is in the batch and in the whole pass.
    note : str
        How they ran.
    taken : tuple of mapping of int to Route
        Of each variant, what the experts of the layers got at which its choice was forced.
    """

    values: np.ndarray
    unchanged: np.ndarray
    noise: float
    note: str
    taken: tuple[Mapping[int, Route], ...] = ()

    @property
    def effects(self) -> np.ndarray:
        """(n,) float64, unchanged minus changed: what the token has by being routed as it is."""
        return self.unchanged - self.values


class Variants:
    """Runs variants of a passage's last token.

    They run as rows of one batch, of the last token alone, with the keys and values of the tokens before it from one run; if the
    token as it is does not come out of that as out of the whole pass, each variant is a whole pass of its own.

    Parameters
    ----------
    rerun : Rerun
        Entered.
    ways : mapping of int to Way
        How layers select, by place; where a choice is forced.
    """

    def __init__(self, rerun: Rerun, ways: Mapping[int, Way] = MappingProxyType({})) -> None:
        self._rerun, self._ways = rerun, ways
        self._past: Any = None
        self._by_rows = self._can_run_by_rows()

    def run(self, variants: Sequence[Variant], score: Score, progress: Progress) -> Outcomes:
        """Run each variant and score the logits of its token; ``progress`` is told the share that is done."""
        if not variants:
            return Outcomes(np.zeros(0), np.zeros(0), 0.0, "nothing ran")
        whole = float(score(self._rerun.logits.double().unsqueeze(0))[0])
        if self._by_rows:
            found = self._run_by_rows(variants, score, whole, progress)
            if found.noise <= 2 * self._rounding:
                return found  # else rows of a larger batch change one another, as where experts have a capacity
        values = np.zeros(len(variants))
        taken: list[dict[int, Route]] = []
        for number, variant in enumerate(variants):
            progress(number / len(variants), f"run {number + 1} of {len(variants)}")
            with self._changed([variant]) as seen:
                output = self._rerun.run(**self._last_logits())
            values[number] = float(score(self._logits(output))[0])
            taken += _taken(seen, [variant])
        note = f"{len(values)} whole passes, one for each change"
        return Outcomes(values, np.full(len(values), whole), 0.0, note, tuple(taken))

    def _run_by_rows(self, variants: Sequence[Variant], score: Score, whole: float, progress: Progress) -> Outcomes:
        values, unchanged = np.zeros(len(variants)), np.zeros(len(variants))
        noise, size = 0.0, self._rows_at_once() - 2
        taken: list[dict[int, Route]] = []
        for first in range(0, len(variants), size):
            progress(
                first / len(variants), f"runs {first + 1} to {min(first + size, len(variants))} of {len(variants)}"
            )
            part = variants[first : first + size]
            rows = [Variant(), *part, Variant()]
            with self._changed(rows) as seen:
                found = score(self._logits(self._one_token(len(rows)))).numpy()
            taken += _taken(seen, rows)[1:-1]
            values[first : first + size], unchanged[first : first + size] = found[1:-1], found[0]
            noise = max(noise, abs(float(found[0] - found[-1])), abs(float(found[0]) - whole))
        note = f"{len(variants)} runs of the token as rows of batches, on the keys and values of the tokens before it"
        return Outcomes(values, unchanged, noise, note, tuple(taken))

    def _rows_at_once(self) -> int:
        tensors = [] if self._past is None else list(_tensors(self._past))
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return max(3, min(MOST_ROWS, CACHE_BYTES // max(1, size)))

    def _can_run_by_rows(self) -> bool:
        """Whether the token, run alone in a batch of three, is routed as in the whole pass and has its logits within rounding."""
        rerun = self._rerun
        seen: dict[int, Routing] = {}
        try:
            if len(rerun.passage.ids) > 1:
                output = rerun.run(rerun.ids[:, :-1], use_cache=True)
                self._past = getattr(output, "past_key_values", None)
                if self._past is None or not hasattr(self._past, "batch_repeat_interleave"):
                    return False
            with ExitStack() as stack:
                for binding in rerun.bindings:
                    if can_reroute(binding):
                        stack.enter_context(Rerouting(binding, _noting(seen, binding.layer.place)))
                logits = self._logits(self._one_token(3))
        except Exception:  # whatever a family does not support; whole passes always run
            return False
        for binding in rerun.bindings:
            known, here = rerun.routing(binding), seen.get(binding.layer.place)
            if not can_reroute(binding) or known is None:
                continue
            if here is None or len(here.ids) != 3 or (here.ids.cpu().numpy() != known[0]).any():
                return False
        own = rerun.logits.double()
        return bool((logits - own).abs().amax() <= self._rounding)

    @property
    def _rounding(self) -> float:
        """How far logits of equal runs may be apart."""
        parameters = self._rerun.model.parameters()
        dtype = next((p.dtype for p in parameters if p.is_floating_point()), torch.float32)
        return float(16 * torch.finfo(dtype).eps * self._rerun.logits.abs().amax())

    def _one_token(self, rows: int) -> Any:
        ids = self._rerun.ids[:, -1:].expand(rows, 1)
        if self._past is None:
            return self._rerun.run(ids)
        past = deepcopy(self._past)
        past.batch_repeat_interleave(rows)
        return self._rerun.run(ids, past_key_values=past, use_cache=True)

    def _last_logits(self) -> dict[str, Any]:
        return {"logits_to_keep": 1} if self._rerun.takes("logits_to_keep") else {}

    def _logits(self, output: Any) -> Tensor:
        return logits_of(output, self._rerun.model)[:, -1].detach().cpu().double()

    @contextmanager
    def _changed(self, rows: Sequence[Variant]) -> Iterator[dict[int, Routing]]:
        """The model with one variant for each row of a batch, or with one for the last row of a whole pass.

        What it gives is the routing of the layers whose choice is forced, once it ran.
        """
        seen: dict[int, Routing] = {}
        with ExitStack() as stack:
            for binding in self._rerun.bindings:
                place = binding.layer.place
                routes = {row: variant.routes[place] for row, variant in enumerate(rows) if place in variant.routes}
                minus = {row: variant.minus[place] for row, variant in enumerate(rows) if place in variant.minus}
                chosen = {row: variant.forced[place] for row, variant in enumerate(rows) if place in variant.forced}
                if chosen:
                    stack.enter_context(forced(binding, self._ways[place], chosen, len(rows), seen))
                if routes:
                    stack.enter_context(Rerouting(binding, _rerouted(routes, len(rows))))
                if minus:
                    stack.enter_context(_subtracted(minus, len(rows)))
            yield seen


def ablated(binding: Binding, ids: np.ndarray, weights: np.ndarray, slot: int) -> Variant:
    """Return the variant in which one slot of the token has weight 0; ids and the other weights stay."""
    new = torch.from_numpy(np.array(weights))
    new[slot] = 0
    return Variant({binding.layer.place: Route(torch.from_numpy(ids), new)})


def _noting(seen: dict[int, Routing], place: int) -> Change:
    def note(routing: Routing) -> Routing:
        seen.setdefault(place, routing)
        return routing

    return note


def _rerouted(routes: Mapping[int, Route], rows: int) -> Change:
    """The change that gives some rows of a batch, or the last row of a whole pass, their routes."""

    def change(routing: Routing) -> Routing:
        ids, weights = routing.ids.clone(), routing.weights.clone()
        for row, route in routes.items():
            place = row if rows > 1 else -1
            ids[place], weights[place] = route.ids.to(ids), route.weights.to(weights)
        same = torch.equal(ids, routing.ids)
        return replace(routing, ids=routing.ids if same else ids, weights=weights)

    return change


def _taken(seen: Mapping[int, Routing], rows: Sequence[Variant]) -> list[dict[int, Route]]:
    """What the experts got of each variant, at the layers at which its choice was forced."""
    found: list[dict[int, Route]] = []
    for row, variant in enumerate(rows):
        place = row if len(rows) > 1 else -1
        routings = {layer: seen[layer] for layer in variant.forced}
        found.append({n: Route(r.ids[place].cpu(), r.weights[place].float().cpu()) for n, r in routings.items()})
    return found


@contextmanager
def _subtracted(minus: Mapping[int, tuple[nn.Module, Tensor]], rows: int) -> Iterator[None]:
    """A module's output without something in some rows of a batch, or in the last row of a whole pass."""

    def subtract(module: nn.Module, args: Any, output: Any) -> Any:
        tensor = first_tensor(output)
        if tensor is None:
            return None
        new = tensor.clone()
        flat = new.view(-1, new.shape[-1])
        for row, (_, part) in minus.items():
            flat[row if rows > 1 else -1] -= part.to(flat)
        return replaced(output, tensor, new)

    module = next(iter(minus.values()))[0]
    handle = module.register_forward_hook(subtract)
    try:
        yield
    finally:
        handle.remove()


def _tensors(value: Any, depth: int = 4) -> Iterator[Tensor]:
    """The tensors in a cache."""
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item, depth - 1)
    elif depth and hasattr(value, "__dict__"):
        for item in vars(value).values():
            yield from _tensors(item, depth - 1)
