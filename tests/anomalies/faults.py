"""Faults of a model, put into a capture of a healthy one: what its router would have done, had it been ill.

Each takes a capture, a strength and a random generator, and returns the faulty capture and where the fault is. The scores of what
was changed become unknown (margin, entropy, logits), for those of the healthy router would give the fault away.
"""

from dataclasses import dataclass

import numpy as np

from moedesk.core.columns import RouteFlag
from tests.anomalies.array_store import ArrayStore


@dataclass(frozen=True)
class Faulty:
    """A capture with a fault, and where it is.

    Attributes
    ----------
    store : ArrayStore
    layers : tuple of str
        Paths; a finding at any of them is right.
    expert : int or None
        The expert concerned, if it is one expert's fault.
    """

    store: ArrayStore
    layers: tuple[str, ...]
    expert: int | None = None


def dead(store: ArrayStore, share: float, rng: np.random.Generator) -> Faulty:
    """``share`` of the slots of an expert go to others, each to one that the token has not got yet."""
    place, expert = any_place(store, rng), int(rng.integers(store.model.layers[0].experts))
    ids = store.layers[place].experts.copy()
    rows, slots = np.nonzero(ids == expert)
    moved = rng.random(len(rows)) < share
    rows, slots = rows[moved], slots[moved]
    ids[rows, slots] = _another(ids[rows], store.model.layers[place].experts, rng, expert)
    return Faulty(_rerouted(store, place, ids, np.unique(rows)), paths(store, place), expert)


def collapse(store: ArrayStore, share: float, rng: np.random.Generator) -> Faulty:
    """``share`` of the tokens have one expert as their first choice."""
    place, expert = any_place(store, rng), int(rng.integers(store.model.layers[0].experts))
    ids = store.layers[place].experts.copy()
    rows = np.flatnonzero((rng.random(len(ids)) < share) & (ids != expert).all(1))
    ids[rows, store.layers[place].weights[rows].argmax(1)] = expert
    return Faulty(_rerouted(store, place, ids, rows), paths(store, place), expert)


def drift(store: ArrayStore, share: float, rng: np.random.Generator) -> Faulty:
    """In the second half of the capture, ``share`` of the slots of half of the experts go to the other half."""
    place = any_place(store, rng)
    experts = store.model.layers[place].experts
    losing = rng.permutation(experts)[: experts // 2]
    ids = store.layers[place].experts.copy()
    late = np.arange(len(ids)) >= len(ids) // 2
    for slot in range(ids.shape[1]):
        rows = np.flatnonzero(late & np.isin(ids[:, slot], losing) & (rng.random(len(ids)) < share))
        ids[rows, slot] = _another(ids[rows], experts, rng, *losing.tolist())
    changed = np.flatnonzero((ids != store.layers[place].experts).any(1))
    return Faulty(_rerouted(store, place, ids, changed), paths(store, place))


def nan(store: ArrayStore, tokens: float, rng: np.random.Generator) -> Faulty:
    """The router's values of a few tokens are NaN; the recorder marks such rows."""
    place = any_place(store, rng)
    layer = store.layers[place]
    rows = rng.choice(np.flatnonzero(~store.tokens["is_padding"]), int(tokens), replace=False)
    weights, entropy, margin, flags = (one.copy() for one in (layer.weights, layer.entropy, layer.margin, layer.flags))
    weights[rows] = entropy[rows] = margin[rows] = np.nan
    flags[rows] |= np.uint8(RouteFlag.NONFINITE)
    columns = {"weights": weights, "entropy": entropy, "margin": margin, "flags": flags}
    return Faulty(store.with_layer(place, **columns), paths(store, place))


def stuck(store: ArrayStore, share: float, rng: np.random.Generator) -> Faulty:
    """For the last ``share`` of the tokens, a router gives what it gave the token before: its input no longer reaches it."""
    place, first = any_place(store, rng), first_row(store, share)
    columns = {}
    for name, own in vars(store.layers[place]).items():
        if own is not None:
            columns[name] = own.copy()
            columns[name][first:] = own[max(0, first - 1)]
    return Faulty(store.with_layer(place, **columns), paths(store, place))


def one_choice(store: ArrayStore, share: float, rng: np.random.Generator) -> Faulty:
    """For the last ``share`` of the tokens, a layer chooses the same experts; its weights still differ."""
    place, first = any_place(store, rng), first_row(store, share)
    ids = store.layers[place].experts.copy()
    ids[first:] = ids[max(0, first - 1)]
    return Faulty(_rerouted(store, place, ids, np.arange(first, len(ids))), paths(store, place))


def any_place(store: ArrayStore, rng: np.random.Generator) -> int:
    """Return a layer's place."""
    return int(rng.integers(len(store.layers)))


def first_row(store: ArrayStore, share: float) -> int:
    """Return where the last ``share`` of the tokens begins."""
    return round(len(store.tokens) * (1 - share))


def paths(store: ArrayStore, *places: int) -> tuple[str, ...]:
    """Return the paths of layers."""
    return tuple(store.model.layers[place].path for place in places)


def _another(chosen: np.ndarray, experts: int, rng: np.random.Generator, *banned: int) -> np.ndarray:
    """(n,) an expert for each row of (n, k) choices that is not among them, nor banned."""
    score = rng.random((len(chosen), experts))
    np.put_along_axis(score, chosen.astype(np.int64), -1, 1)
    score[:, list(banned)] -= 1
    return score.argmax(1)


def _rerouted(store: ArrayStore, place: int, ids: np.ndarray, rows: np.ndarray) -> ArrayStore:
    """Other experts in some rows of a layer, whose scores become unknown."""
    layer = store.layers[place]
    scores = {}
    for name in ("entropy", "margin", "logits"):
        if getattr(layer, name) is not None:
            scores[name] = getattr(layer, name).copy()
            scores[name][rows] = np.nan
    return store.with_layer(place, experts=ids, **scores)
