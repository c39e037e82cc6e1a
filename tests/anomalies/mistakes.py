"""Mistakes of a recorder or an engine, put into a sound capture: what was written is not what the router did."""

import numpy as np

from tests.anomalies.array_store import ArrayStore
from tests.anomalies.faults import Faulty, any_place, first_row, paths
from tests.support.memory_store import LayerColumns


def swapped_routes(store: ArrayStore, share: float, rng: np.random.Generator) -> Faulty:
    """Ids and weights of two layers are exchanged in the last ``share`` of the tokens; their scores are where they were."""
    one, other = _two(store, rng)
    rows = slice(first_row(store, share), None)
    changed = store
    for to, source in ((one, other), (other, one)):
        ids, weights = store.layers[to].experts.copy(), store.layers[to].weights.copy()
        ids[rows], weights[rows] = store.layers[source].experts[rows], store.layers[source].weights[rows]
        changed = changed.with_layer(to, experts=ids, weights=weights)
    return Faulty(changed, paths(store, one, other))


def swapped_layers(store: ArrayStore, share: float, rng: np.random.Generator) -> Faulty:
    """Everything of two layers is exchanged, in the last ``share`` of the tokens."""
    one, other = _two(store, rng)
    rows = slice(first_row(store, share), None)
    changed = store
    for to, source in ((one, other), (other, one)):
        columns = {}
        for name, own in vars(store.layers[to]).items():
            if own is not None:
                columns[name] = own.copy()
                columns[name][rows] = getattr(store.layers[source], name)[rows]
        changed = changed.with_layer(to, **columns)
    return Faulty(changed, paths(store, one, other))


def wrong_order(store: ArrayStore, share: float, rng: np.random.Generator) -> Faulty:
    """In the last ``share`` of the tokens, weights are normalised where the model does not, or not where it does.

    Softmax over the top k is softmax over all, divided by its sum: so one is worked out from the other, with the part of the
    probability that the chosen have. Where logits tell that, it is theirs; else the weights' own sum.
    """
    place = any_place(store, rng)
    layer = store.layers[place]
    rows = slice(first_row(store, share), None)
    sums = layer.weights.sum(1, keepdims=True)
    normalised = bool(np.ptp(sums[~store.tokens["is_padding"]]) < 1e-4)
    weights = layer.weights.copy()
    weights[rows] = layer.weights[rows] * _mass(layer)[rows] if normalised else (layer.weights / sums)[rows]
    return Faulty(store.with_layer(place, weights=weights), paths(store, place))


def padding_counted(store: ArrayStore, share: float, rng: np.random.Generator) -> Faulty:
    """The counts of a layer include ``share`` of its padded rows."""
    place = any_place(store, rng)
    ids = store.layers[place].experts
    wrong = store.tokens["is_padding"] & (rng.random(len(ids)) < share)
    if not wrong.any():
        wrong[rng.choice(np.flatnonzero(store.tokens["is_padding"]))] = True
    changed = store.with_layer(place)
    changed.exact[place] = changed.counted(ids, changed.exact[place].shape[1], ~store.tokens["is_padding"] | wrong)
    return Faulty(changed, paths(store, place))


def layer_overwritten(store: ArrayStore, share: float, rng: np.random.Generator) -> Faulty:
    """A later layer's ids and weights stand in layer 0 too, in the last ``share`` of the tokens."""
    source = int(rng.integers(1, len(store.layers)))
    return _over_first(store, share, store.layers[source].experts, store.layers[source].weights)


def draft_over_first(store: ArrayStore, share: float, rng: np.random.Generator) -> Faulty:
    """A draft model's ids and weights stand in layer 0, in the last ``share`` of the tokens.

    The draft is a router of its own that is one token ahead: a later layer with its experts renamed, moved by one row.
    """
    source = store.layers[int(rng.integers(1, len(store.layers)))]
    names = rng.permutation(store.model.layers[0].experts).astype(source.experts.dtype)
    ids = np.where(source.experts >= 0, names[source.experts], -1).astype(source.experts.dtype)
    return _over_first(store, share, np.roll(ids, -1, 0), np.roll(source.weights, -1, 0))


def draft_without_logits(store: ArrayStore, share: float, rng: np.random.Generator) -> Faulty:
    """The same where logits were not recorded."""
    bare = store
    for place in range(len(store.layers)):
        bare = bare.with_layer(place, logits=None)
    return draft_over_first(bare, share, rng)


def _over_first(store: ArrayStore, share: float, ids: np.ndarray, weights: np.ndarray) -> Faulty:
    rows = slice(first_row(store, share), None)
    new_ids, new_weights = store.layers[0].experts.copy(), store.layers[0].weights.copy()
    new_ids[rows], new_weights[rows] = ids[rows], weights[rows]
    return Faulty(store.with_layer(0, experts=new_ids, weights=new_weights), paths(store, 0))


def _two(store: ArrayStore, rng: np.random.Generator) -> tuple[int, int]:
    one, other = rng.permutation(len(store.layers))[:2].tolist()
    return one, other


def _mass(layer: LayerColumns) -> np.ndarray:
    """(T, 1) part of softmax over all experts that the chosen have."""
    assert layer.logits is not None
    z = layer.logits.astype(np.float64)
    q = np.exp(z - z.max(1, keepdims=True))
    q /= q.sum(1, keepdims=True)
    return np.take_along_axis(q, layer.experts.astype(np.int64), 1).sum(1, keepdims=True).astype(np.float32)
