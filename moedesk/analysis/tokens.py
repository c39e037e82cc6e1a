"""The routing of tokens: one over all layers, or many at one layer."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moedesk.core.columns import RouteFlag
from moedesk.core.model import LayerInfo
from moedesk.core.store import LayerLike, Store


@dataclass(frozen=True)
class SlotRoute:
    """One slot of a token: its number, the expert it went to (-1 if it was dropped), the weight that expert received."""

    slot: int
    expert: int
    weight: float


@dataclass(frozen=True)
class LayerRoute:
    """What one layer did with one token.

    Attributes
    ----------
    layer : LayerInfo
    slots : tuple of SlotRoute
        Largest weight first, dropped ones last; each keeps its number.
    entropy : float
        Of softmax(logits) over all experts, in nats; NaN if unknown.
    margin : float
        Score of rank k minus rank k+1; NaN if unknown.
    flags : RouteFlag
    """

    layer: LayerInfo
    slots: tuple[SlotRoute, ...]
    entropy: float
    margin: float
    flags: RouteFlag


@dataclass(frozen=True)
class TokenRoutes:
    """One token and its routing over all layers of its stream.

    Attributes
    ----------
    row : int
    stream : str
    token : () structured, dtype ``columns.TOKEN``
    text : str
    layers : tuple of LayerRoute
    """

    row: int
    stream: str
    token: np.void
    text: str
    layers: tuple[LayerRoute, ...]


@dataclass(frozen=True)
class LayerTokens:
    """Token rows and what one layer did with them.

    Attributes
    ----------
    layer : LayerInfo
    first : int
        Row of the first token.
    tokens : (T,) structured, dtype ``columns.TOKEN``
    texts : list of str
        A text per token.
    experts : (T, k) signed int
        In slot order, -1 where a slot was dropped.
    weights : (T, k) float32
    order : (T, k) int
        Slots by weight, largest first, dropped ones last.
    top_expert : (T,) int
        Expert of the largest weight; -1 if the token has none.
    entropy, margin : (T,) float32
        In nats, and in the router's score; NaN if unknown.
    flags : (T,) uint8
        ``RouteFlag`` bits.
    """

    layer: LayerInfo
    first: int
    tokens: np.ndarray
    texts: list[str]
    experts: npt.NDArray[np.signedinteger]
    weights: npt.NDArray[np.float32]
    order: npt.NDArray[np.intp]
    top_expert: npt.NDArray[np.signedinteger]
    entropy: npt.NDArray[np.float32]
    margin: npt.NDArray[np.float32]
    flags: npt.NDArray[np.uint8]

    def slots(self, place: int) -> tuple[SlotRoute, ...]:
        """Return the slots of token ``first + place``, largest weight first."""
        return _slots(self.experts[place], self.weights[place], self.order[place])


def token_routes(store: Store, row: int, stream: str | None = None) -> TokenRoutes:
    """Return the routing of one token over every layer that works on its stream (None: the main one)."""
    name = stream or next(iter(store.model.streams), "main")
    layers = []
    for layer in store.model.layers:
        if layer.stream != name:
            continue
        experts, weights = store.experts(layer, row, row + 1)[0], store.weights(layer, row, row + 1)[0]
        layers.append(
            LayerRoute(
                layer,
                _slots(experts, weights, slot_order(experts, weights)),
                float(store.entropy(layer, row, row + 1)[0]),
                float(store.margin(layer, row, row + 1)[0]),
                RouteFlag(int(store.flags(layer, row, row + 1)[0])),
            )
        )
    token = store.read_tokens(row, row + 1, stream)[0]
    return TokenRoutes(row, name, token, store.token_text([token["token_id"]])[0], tuple(layers))


def layer_tokens(store: Store, layer: LayerLike, i: int, j: int) -> LayerTokens:
    """Return token rows i…j of a layer's stream and their routing at that layer."""
    info = store.model.layer(layer)
    tokens = store.read_tokens(i, j, info.stream)
    experts, weights = store.experts(info, i, j), store.weights(info, i, j)
    order = slot_order(experts, weights)
    return LayerTokens(
        info,
        i,
        tokens,
        store.token_text(tokens["token_id"]),
        experts,
        weights,
        order,
        np.take_along_axis(experts, order[:, :1], axis=1)[:, 0],
        store.entropy(info, i, j),
        store.margin(info, i, j),
        store.flags(info, i, j),
    )


def slot_order(experts: npt.NDArray[np.signedinteger], weights: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Return (…, k) slots by weight, largest first; NaN weights behind those, dropped slots last; ties in slot order."""
    return np.lexsort((-weights, experts < 0), axis=-1)


def _slots(
    experts: npt.NDArray[np.signedinteger], weights: npt.NDArray[np.float32], order: npt.NDArray[np.intp]
) -> tuple[SlotRoute, ...]:
    return tuple(SlotRoute(slot, int(experts[slot]), float(weights[slot])) for slot in order.tolist())
