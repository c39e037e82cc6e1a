"""Other routes of a token: what the runner-up experts would have done to the loss of the token that came next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import nan
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moedesk.core.attribution import Counterfactual
from moedesk.core.errors import MoedeskError
from moedesk.probe.explaining.dtypes import dtypes_of
from moedesk.probe.explaining.forced import forceable, logits_where_selected
from moedesk.probe.explaining.passage import Passage, place_of, target_id, text_of
from moedesk.probe.explaining.ranked import ranked
from moedesk.probe.explaining.rerun import Progress, Rerun, moved
from moedesk.probe.explaining.sides import refuse_encoder
from moedesk.probe.explaining.variants import Outcomes, Variant, Variants
from moedesk.probe.finding.binding import Binding
from moedesk.probe.overriding.registry import overrides_of
from moedesk.probe.overriding.way import Way

RUNNERS = 4
"""Experts next in rank that are tried."""
TRIES = 32
"""Whole routes that are sampled."""


def counterfactual(
    model: nn.Module,
    passage: Passage,
    tokenizer: Any = None,
    *,
    layers: Any = None,
    target: int | str | None = None,
    runners: int = RUNNERS,
    tries: int = TRIES,
    seed: int = 0,
    progress: Progress = lambda share, text: None,
) -> Counterfactual:
    """Return what other routes of a token do to the loss of the next one.

    At each layer, each of the token's experts is replaced by each of the ``runners`` that the router ranked next; then whole
    routes are sampled, at all these layers at once. All have as many experts as the router's own, so they cost the same. The
    choice is forced inside the layer's own selection, so weights are what the model makes of it; the model then runs on.

    Parameters
    ----------
    model : Module
    passage : Passage
    tokenizer : transformers tokenizer, optional
    layers : place, path or list of these, optional
        MoE layers; all if left out.
    target : int or str, optional
        The token whose loss it is; the one that came next if left out.
    runners, tries : int
    seed : int
        Of the sampled routes.
    progress : function, optional

    Raises
    ------
    MoedeskError
        If there is no such layer or target, no next token, or no layer whose choice can be forced.
    """
    for name, number, least in (("runners", runners, 1), ("tries", tries, 0)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise MoedeskError(f"{name}={number!r} is no number of routes; give {least} or more")
    progress(0.0, "finding how each layer selects")
    rerun = Rerun(model, passage)  # says what is wrong before anything runs
    refuse_encoder(rerun.side, "counterfactual")
    overrides_of(model).layers.study.ways  # noqa: B018 - found out now: within, the model is taken
    with rerun:
        ways, unknown = _ways(model, rerun.bindings)
        wanted = target_id(target, passage, tokenizer, len(rerun.logits))
        if wanted is None:
            raise MoedeskError(
                "the token that came next is not known; give index= of one before the last, or target= a token"
            )
        chosen = rerun.layers(layers)
        menus, notes = _menus(rerun, chosen, ways, unknown, runners)
        if not menus:
            raise MoedeskError(f"no other route can be tried: {notes[0] if notes else 'no layer chooses'}")
        return _Work(rerun, menus, ways, wanted, tries, seed).run(
            tokenizer, [*rerun.notes, *moved(rerun), *notes], progress
        )


def _ways(model: nn.Module, bindings: Sequence[Binding]) -> tuple[dict[int, Way], dict[int, str]]:
    """How each layer selects, by its place, and why that is not known of others; found out once a model."""
    layers = overrides_of(model).layers
    ways: dict[int, Way] = {}
    unknown: dict[int, str] = {}
    reached = {binding.candidate.path for binding in layers.study.bindings}
    for binding in bindings:
        if binding.candidate.path not in reached:
            unknown[binding.layer.place] = "a small batch of token ids doesn't reach it"
            continue
        try:
            ways[binding.layer.place] = layers.way_of(binding)
        except MoedeskError as error:
            unknown[binding.layer.place] = str(error)
    return ways, unknown


@dataclass(frozen=True)
class _Menu:
    """One layer's own route and what may replace parts of it.

    Attributes
    ----------
    place : int
    own : (k,) int64
    weights : (k,) float32
    runners : tuple of int
        The next ones by rank, the best first.
    """

    place: int
    own: np.ndarray
    weights: np.ndarray
    runners: tuple[int, ...]

    def single(self) -> list[np.ndarray]:
        """The routes with one expert replaced."""
        found = []
        for slot in range(len(self.own)):
            for expert in self.runners:
                route = self.own.copy()
                route[slot] = expert
                found.append(route)
        return found

    def sampled(self, generator: np.random.Generator) -> np.ndarray:
        """A route of its own experts and runners, each set as likely as any other; own ones keep their slot."""
        pool = [*self.own.tolist(), *self.runners]
        taken = generator.choice(len(pool), len(self.own), replace=False)
        picked = {pool[place] for place in taken.tolist()}
        new = iter(sorted(picked - set(self.own.tolist()), key=pool.index))
        return np.array([expert if expert in picked else next(new) for expert in self.own.tolist()], np.int64)


def _menus(
    rerun: Rerun, chosen: Sequence[Binding], ways: Mapping[int, Way], unknown: Mapping[int, str], runners: int
) -> tuple[list[_Menu], list[str]]:
    """What can be tried at each layer, and a line about each at which nothing can."""
    menus, notes = [], []
    unread = logits_where_selected(rerun, [one for one in chosen if one.layer.place in ways])
    for binding in chosen:
        place = binding.layer.place
        way, routing, read = ways.get(place), rerun.routing(binding), rerun.routes[place].logits
        logits = unread.get(place) if read is None else np.array(read[rerun.row], np.float64)
        if not forceable(binding, way):
            why = unknown.get(place, "its choice can't be forced")
        elif routing is None or logits is None:
            why = "its routing or its logits are not known"
        elif (routing[0] < 0).any():
            why = "the token lost a slot to the capacity limit"
        else:
            order = ranked(binding, logits, routing[0])
            menu = _Menu(place, routing[0], routing[1], _next_ones(order.ranked, order.logits, routing[0], runners))
            if menu.runners:
                menus.append(menu)
                continue
            why = "it has no other expert that may be chosen"
        notes.append(f"layer {place}: no other routes, {why}")
    return menus, notes


def _next_ones(scores: np.ndarray, logits: np.ndarray, own: np.ndarray, count: int) -> tuple[int, ...]:
    """The experts that rank best beside those chosen; those that could not be chosen left out."""
    best = scores if np.isfinite(scores).any() else logits
    order = [e for e in np.argsort(-best, kind="stable").tolist() if e not in own and np.isfinite(best[e])]
    return tuple(order[:count])


class _Work:
    """The runs of one question."""

    def __init__(
        self, rerun: Rerun, menus: Sequence[_Menu], ways: Mapping[int, Way], target: int, tries: int, seed: int
    ) -> None:
        self._rerun, self._menus, self._ways, self._target = rerun, menus, ways, target
        self._single = [(menu, route) for menu in menus for route in menu.single()]
        self._whole = _sampled(menus, tries, seed)

    def run(self, tokenizer: Any, notes: Sequence[str], progress: Progress) -> Counterfactual:
        """Run all routes."""
        variants = [
            *(Variant(forced={menu.place: torch.from_numpy(route)}) for menu, route in self._single),
            *(
                Variant(forced={m.place: torch.from_numpy(r) for m, r in zip(self._menus, w, strict=True)})
                for w in self._whole
            ),
        ]
        outcomes = Variants(self._rerun, self._ways).run(
            variants, self._loss, lambda share, text: progress(0.2 + 0.8 * share, text)
        )
        own = float(self._loss(self._rerun.logits.double()[None])[0])
        losses = own - outcomes.effects  # as if each had run in the very batch of the router's own choice
        found = self._result(own, losses, outcomes)
        progress(1.0, "done")
        return Counterfactual(
            token=place_of(self._rerun.passage),
            next_id=self._target,
            next_text=text_of(tokenizer, self._target),
            model=type(self._rerun.model).__name__,
            dtype=dtypes_of(self._rerun.model),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            noise=outcomes.noise,
            notes=(*notes, outcomes.note, *self._about()),
            **found,
        )

    def _about(self) -> list[str]:
        lines = [
            "each route has as many experts as the router's own; weights are what the model's own selection makes of it"
        ]
        if len(self._whole):
            lines.append(
                f"{len(self._whole)} whole routes were sampled: of the router's choice and the next ones, at all layers at once"
            )
        return lines

    def _loss(self, logits: Tensor) -> Tensor:
        return -logits.log_softmax(-1)[:, self._target]

    def _result(self, own: float, losses: np.ndarray, outcomes: Outcomes) -> dict[str, Any]:
        width = max(len(menu.own) for menu in self._menus)
        rows: list[tuple[int, np.ndarray, np.ndarray, bool, float]] = []
        ranks = []
        for menu in self._menus:
            mine = [number for number, (other, _) in enumerate(self._single) if other is menu]
            rows.append((menu.place, menu.own, menu.weights, True, own))
            for number in mine:
                route = outcomes.taken[number][menu.place]
                rows.append((menu.place, route.ids.numpy(), route.weights.numpy(), False, float(losses[number])))
            ranks.append(int((losses[mine] < own).sum()))
        whole = np.full((len(self._whole), len(self._menus), width), -1, np.int64)
        for at, routes in enumerate(self._whole):
            for place, ids in enumerate(routes):
                whole[at, place, : len(ids)] = ids
        return {
            "layers": np.array([row[0] for row in rows], np.int64),
            "experts": np.stack([_wide(row[1], width, -1) for row in rows]).astype(np.int64),
            "weights": np.stack([_wide(row[2].astype(np.float64), width, nan) for row in rows]),
            "own": np.array([row[3] for row in rows]),
            "losses": np.array([row[4] for row in rows]),
            "tried_layers": np.array([menu.place for menu in self._menus], np.int64),
            "ranks": np.array(ranks, np.int64),
            "whole_experts": whole,
            "whole_losses": losses[len(self._single) :],
        }


def _sampled(menus: Sequence[_Menu], tries: int, seed: int) -> list[list[np.ndarray]]:
    """So many different routes through all layers, the router's own not among them; fewer if there are no more."""
    generator = np.random.default_rng(seed)
    seen = {tuple(tuple(menu.own.tolist()) for menu in menus)}
    found: list[list[np.ndarray]] = []
    for _ in range(4 * tries):
        if len(found) == tries:
            break
        routes = [menu.sampled(generator) for menu in menus]
        key = tuple(tuple(route.tolist()) for route in routes)
        if key not in seen:
            seen.add(key)
            found.append(routes)
    return found


def _wide(row: np.ndarray, width: int, empty: float) -> np.ndarray:
    return np.concatenate([row, np.full(width - len(row), empty, row.dtype)])
