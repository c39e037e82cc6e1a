"""What arrives is what was sent, array for array."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moedesk.core.batch import LayerRoutes, RouteBatch
from moedesk.core.columns import PASS, TOKEN
from moedesk.core.model import ModelInfo
from moedesk.core.override import Override, OverrideKind
from moedesk.link.message import decode
from moedesk.link.protocol import TO_CLIENT, LinkError
from moedesk.link.routes import counts_of, decode_batch, encode_batch
from tests.support.link import Recorder, assert_same, connected
from tests.support.routing import random_batch, random_model, with_layers


def over_the_wire(batch: RouteBatch, shift: int = 0) -> RouteBatch:
    """Encode and decode a batch; the buffer comes ``shift`` bytes off a number's boundary, as zmq's may."""
    frames = encode_batch(3, batch)
    room = np.empty(frames.buffer.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64 + shift
    room[start : start + frames.buffer.nbytes] = frames.buffer
    header, near, *apart = map(memoryview, frames.frames)
    message = decode(header, room[start : start + near.nbytes].data, TO_CLIENT, *apart)
    assert message.fields["stream"] == 3
    assert message.nbytes == frames.nbytes
    found = decode_batch(message)
    for layer in found.layers:
        assert not any(column.flags.writeable for column in vars(layer).values() if isinstance(column, np.ndarray))
    return found


def model_of_two_streams() -> ModelInfo:
    layers = with_layers((), 2, 16, 2, "encoder")
    layers = with_layers(layers, 3, 200, 4, "decoder")
    return ModelInfo("two", "Two", with_layers(layers, 1, 16, 2, "encoder"))


@given(
    seed=st.integers(0, 1000),
    layers=st.integers(1, 5),
    experts=st.sampled_from([4, 16, 127, 128, 512]),
    top_k=st.integers(1, 4),
    tokens=st.integers(0, 40),
    absent=st.sets(st.integers(0, 4)),
    counts_only=st.booleans(),
    logits=st.booleans(),
    shift=st.integers(0, 7),
)
def test_batches(
    seed: int,
    layers: int,
    experts: int,
    top_k: int,
    tokens: int,
    absent: set[int],
    counts_only: bool,
    logits: bool,
    shift: int,
) -> None:
    model = random_model(layers, experts, top_k)
    batch = random_batch((seed,), model, tokens, absent=tuple(absent), counts_only=counts_only, logits=logits)
    assert_same(over_the_wire(batch, shift), batch)


def test_several_streams_that_take_turns() -> None:
    batch = random_batch((1,), model_of_two_streams(), 7)
    assert_same(over_the_wire(batch), batch)


def test_a_pass_without_layers_or_tokens() -> None:
    header = np.zeros((), PASS)
    header["step"] = -1
    batch = RouteBatch(header, {})
    assert_same(over_the_wire(batch), batch)


def test_some_columns_missing_in_some_layers() -> None:
    batch = random_batch((2,), random_model(4), 9)
    first, second, third, fourth = batch.layers
    layers = (
        replace(first, margin=None),
        replace(second, weights=None, entropy=None),
        third,
        LayerRoutes(3, fourth.counts),
    )
    assert_same(over_the_wire(replace(batch, layers=layers)), replace(batch, layers=layers))


def test_what_says_nothing_is_not_sent() -> None:
    batch = random_batch((2,), random_model(4), 500)
    unknown, none = np.full(500, np.nan, np.float32), np.zeros(500, np.uint8)
    silent = tuple(replace(layer, entropy=unknown, margin=unknown, flags=none) for layer in batch.layers)
    arrived = over_the_wire(replace(batch, layers=silent))
    assert_same(arrived, replace(batch, layers=silent))
    assert {(layer.entropy, layer.margin, layer.flags) for layer in arrived.layers} == {(None, None, None)}


@pytest.mark.parametrize(("place", "row"), [(0, 0), (3, 499), (1, 250)])
def test_one_value_is_enough_to_send_a_column(place: int, row: int) -> None:
    batch = random_batch((2,), random_model(4), 500)
    for name, blank in (("entropy", np.nan), ("margin", np.nan), ("flags", 0)):
        columns = [np.full_like(getattr(layer, name), blank) for layer in batch.layers]
        columns[place][row] = 1
        layers = [replace(layer, **{name: column}) for layer, column in zip(batch.layers, columns, strict=True)]
        one = replace(batch, layers=tuple(layers))
        assert_same(over_the_wire(one), one)


def test_few_counts_go_short_and_all_arrive() -> None:
    counts = np.zeros(512, np.int64)
    counts[[3, 511]] = 1 << 40, -1
    batch = RouteBatch(
        np.zeros((), PASS), {"main": np.zeros(1, TOKEN)}, tuple(LayerRoutes(n, counts) for n in range(48))
    )
    assert encode_batch(1, batch).nbytes < 4000
    assert_same(over_the_wire(batch), batch)


def test_shed_to_counts() -> None:
    batch = random_batch((3,), random_model(), 30)
    shed = counts_of(batch)
    wanted = random_batch((3,), random_model(), 30, counts_only=True)
    assert_same(shed, wanted)
    assert batch.header["flags"] == 0, "the batch itself stays as it is"
    assert_same(over_the_wire(shed), wanted)


@pytest.mark.parametrize("tokens", [1, 5000])
def test_over_a_socket(tokens: int) -> None:
    recorder = Recorder()
    model = model_of_two_streams()
    sent = [random_batch((seed,), model, tokens, logits=seed == 1) for seed in range(4)]
    with connected(recorder) as (server, _):
        stream = server.open_stream("m")
        stream.describe(model)
        for batch in sent:
            stream.append(batch)
        stream.close()
        recorder.wait_for("ended")
    for found, batch in zip(recorder.all("arrived"), sent, strict=True):
        assert_same(found, batch)


def test_a_label_goes_with_its_pass() -> None:
    batch = random_batch((1,), random_model(2), 4)
    assert over_the_wire(replace(batch, label="näh")).label == "näh"
    assert over_the_wire(batch).label == ""


def test_the_overrides_that_acted_go_with_their_pass() -> None:
    one = Override(OverrideKind.REPLAY, (1,), capture="näh.h5", weights=True, columns=(0, 4))
    other = Override(OverrideKind.SCALE, experts=(3,), value=0.1, name="less")
    batch = replace(random_batch((1,), random_model(2), 4), overrides=(one, other))
    assert over_the_wire(batch).overrides == (one, other)
    assert over_the_wire(counts_of(batch)).overrides == (one, other)
    assert over_the_wire(replace(batch, overrides=())).overrides == ()


@pytest.mark.parametrize("wrong", [[{"kind": "ablate"}], ['{"kind": "oblate"}'], 3, [None]])
def test_overrides_that_are_none_are_an_error_of_the_link(wrong: object) -> None:
    frames = encode_batch(3, random_batch((1,), random_model(2), 4))
    message = decode(*map(memoryview, frames.frames[:2]), TO_CLIENT, *map(memoryview, frames.frames[2:]))
    with pytest.raises(LinkError, match="overrides that are none"):
        decode_batch(replace(message, fields={**message.fields, "overrides": wrong}))
