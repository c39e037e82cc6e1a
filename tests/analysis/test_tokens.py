"""Routing of tokens against the store's own rows."""

import numpy as np
import pytest

from moedesk.analysis.tokens import layer_tokens, slot_order, token_routes
from moedesk.core.columns import RouteFlag
from tests.support.memory_store import memory_store


@pytest.fixture
def store():
    return memory_store(layers=3, experts=8, top_k=3, seed=5)


def test_a_token_over_all_layers(store) -> None:
    store.layers[0].weights[4] = [0.2, 0.5, 0.3]
    routes = token_routes(store, 4)
    assert [route.layer.place for route in routes.layers] == [0, 1, 2]
    assert [slot.slot for slot in routes.layers[0].slots] == [1, 2, 0]
    for route in routes.layers:
        experts, weights = store.experts(route.layer)[4], store.weights(route.layer)[4]
        assert sorted(slot.slot for slot in route.slots) == [0, 1, 2]
        for slot in route.slots:
            assert slot.expert == experts[slot.slot]
            assert slot.weight == weights[slot.slot]
        assert [slot.weight for slot in route.slots] == sorted(weights.tolist(), reverse=True)
        assert route.entropy == store.entropy(route.layer)[4]
        assert route.margin == store.margin(route.layer)[4]
    assert routes.token["token_id"] == store.read_tokens()[4]["token_id"]
    assert routes.text == store.token_text([routes.token["token_id"]])[0]


def test_a_dropped_slot_comes_last_and_is_flagged(store) -> None:
    route = token_routes(store, 3).layers[-1]
    assert route.flags == RouteFlag.DROPPED
    assert route.slots[-1].expert == -1
    assert route.slots[0].expert >= 0


def test_the_tokens_of_a_layer(store) -> None:
    shown = layer_tokens(store, 2, 2, 9)
    assert shown.first == 2
    assert len(shown.texts) == len(shown.tokens) == 7
    assert shown.texts == store.token_text(store.read_tokens(2, 9)["token_id"])
    for place in range(7):
        weights = store.weights(2)[2 + place].tolist()
        experts = store.experts(2)[2 + place].tolist()
        best = max((w, -s) for s, (w, e) in enumerate(zip(weights, experts, strict=True)) if e >= 0)
        assert shown.top_expert[place] == experts[-best[1]]
        assert shown.slots(place) == token_routes(store, 2 + place).layers[2].slots
    assert shown.flags[1] == RouteFlag.DROPPED


def test_order_of_equal_infinite_and_unknown_weights() -> None:
    experts = np.array([[1, 2, 3, 4], [-1, 2, -1, 0], [-1, -1, -1, -1]], np.int8)
    weights = np.array([[0.3, np.nan, np.inf, 0.3], [0.9, -0.5, 0, np.nan], [0, 0, 0, 0]], np.float32)
    assert slot_order(experts, weights).tolist() == [[2, 0, 3, 1], [1, 3, 0, 2], [0, 1, 2, 3]]


def test_only_layers_of_the_tokens_stream(store) -> None:
    from dataclasses import replace

    layers = store.model.layers
    store.model = replace(store.model, layers=(*layers[:2], replace(layers[2], stream="encoder")))
    store.streams["encoder"], store.spans["encoder"] = store.streams["main"], store.spans["main"]
    assert [route.layer.place for route in token_routes(store, 4).layers] == [0, 1]
    assert [route.layer.place for route in token_routes(store, 4, "encoder").layers] == [2]
