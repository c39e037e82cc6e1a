import numpy as np

from moedesk.core.selection import Kind, Selection
from moedesk.session.selected import selected_data
from tests.support.memory_store import memory_store


def test_an_expert_comes_with_its_layer_and_counts() -> None:
    store = memory_store()
    fields, arrays = selected_data(store, [Selection(Kind.EXPERT, layer=1, expert=2)])
    (described,) = fields["history"]
    assert described["kind"] == "expert"
    assert (described["layer"], described["expert"]) == (1, 2)
    assert described["path"] == store.model.layers[1].path
    real = ~store.read_tokens(stream=store.model.layers[1].stream)["is_padding"]
    ids = store.layers[1].experts[real]
    expected = [int((ids == expert).sum()) for expert in range(store.model.layers[1].experts)]
    assert arrays["0.counts"].tolist() == expected


def test_a_token_comes_with_its_routing_at_every_layer_of_its_stream() -> None:
    store = memory_store()
    fields, arrays = selected_data(store, [Selection(), Selection(Kind.TOKEN, token=3)])
    token = fields["history"][1]
    row = store.read_tokens(3, 4)[0]
    assert token["text"] == store.token_text([row["token_id"]])[0]
    assert token["pass_id"] == row["pass"]
    main = store.model.streams[0]
    layers = [layer for layer in store.model.layers if layer.stream == main]
    assert arrays["1.layers"].tolist() == [layer.place for layer in layers]
    for place, layer in enumerate(layers):
        columns = store.layers[layer.place]
        assert arrays["1.experts"][place, : layer.top_k].tolist() == columns.experts[3].tolist()
        np.testing.assert_array_equal(arrays["1.weights"][place, : layer.top_k], columns.weights[3])
        np.testing.assert_array_equal(arrays["1.entropy"][place], columns.entropy[3])
        np.testing.assert_array_equal(arrays["1.margin"][place], columns.margin[3])


def test_what_is_no_longer_there_says_so() -> None:
    fields, arrays = selected_data(
        memory_store(), [Selection(Kind.LAYER, layer=99), Selection(Kind.TOKEN, token=10**9)]
    )
    assert "no MoE layer 99" in fields["history"][0]["error"]
    assert fields["history"][1]["error"]
    assert not arrays


def test_a_pass_comes_with_its_header() -> None:
    store = memory_store()
    fields, _ = selected_data(store, [Selection(Kind.PASS, pass_id=1)])
    header = store.read_passes(1, 2)[0]
    assert fields["history"][0]["header"] == {name: int(header[name]) for name in header.dtype.names}
