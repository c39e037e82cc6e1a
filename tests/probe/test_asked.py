"""A token on its way from a capture to a passage that the model is run on again."""

import json

import numpy as np
import pytest

from moedesk.analysis.passage import token_passage
from moedesk.core.errors import MoedeskError
from moedesk.core.selection import Kind, Selection
from moedesk.probe.console.passages import selected_passage
from moedesk.probe.console.selected_token import SelectedToken
from moedesk.probe.explaining.asked import asked_passage
from moedesk.probe.explaining.passage import Passage
from moedesk.session.asked_token import asked_token
from moedesk.session.selected import selected_data
from tests.support.memory_store import MemoryStore, memory_store

ROW = 26  # a decode step


@pytest.fixture
def store() -> MemoryStore:
    return memory_store(layers=3, experts=8, top_k=3, padding=0.2)


def check(passage: Passage, store: MemoryStore) -> None:
    token = store.read_tokens(ROW, ROW + 1)[0]
    expected = token_passage(store, ROW)
    assert passage.ids.tolist() == expected.ids.tolist()
    assert len(passage.ids) > 2
    assert passage.next_id == expected.next_id is not None
    assert passage.text == store.token_text([token["token_id"]])[0]
    assert (passage.stream, passage.row) == ("main", ROW)
    assert (passage.sequence, passage.column) == (token["sequence"], token["column"])
    assert sorted(passage.routes) == [0, 1, 2]
    for place, (experts, weights) in passage.routes.items():
        np.testing.assert_array_equal(experts, store.layers[place].experts[ROW])
        np.testing.assert_array_equal(weights, store.layers[place].weights[ROW])


def test_what_the_app_asks_about(store: MemoryStore) -> None:
    check(asked_passage(json.loads(json.dumps(asked_token(store, ROW)))), store)


def test_what_was_clicked(store: MemoryStore) -> None:
    fields, arrays = selected_data(store, [Selection(Kind.TOKEN, token=ROW)])
    own = {name.removeprefix("0."): array for name, array in arrays.items()}
    check(selected_passage(SelectedToken(None, fields["history"][0], own)), store)  # type: ignore[arg-type]


def test_tokens_that_were_not_recorded(store: MemoryStore) -> None:
    store.streams["main"]["sequence"][0] = 99
    with pytest.raises(MoedeskError, match="not recorded"):
        asked_token(store, ROW)
    fields, arrays = selected_data(store, [Selection(Kind.TOKEN, token=ROW)])
    own = {name.removeprefix("0."): array for name, array in arrays.items()}
    with pytest.raises(MoedeskError, match="not recorded"):
        selected_passage(SelectedToken(None, fields["history"][0], own))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [{}, {"ids": "x"}, {"ids": [1], "routes": {"a": [[1], [2]]}}, {"ids": [1], "routes": 3}]
)
def test_a_value_that_is_none(value: dict[str, object]) -> None:
    with pytest.raises(MoedeskError, match="doesn't understand"):
        asked_passage(value)
