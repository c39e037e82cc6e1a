"""Training steps over a link: what is sent arrives, after its passes; what makes no sense is refused."""

import numpy as np
import pytest

from moedesk.core.columns import STEP
from moedesk.core.training import LayerNorms, TrainingStep
from moedesk.link.hub import Hub
from moedesk.link.message import Message, decode, encode
from moedesk.link.protocol import TO_CLIENT, LinkError
from moedesk.link.steps import decode_step, encode_step
from tests.support.link import Recorder, connected
from tests.support.routing import random_batch, random_model


def some_step(layers: int = 3) -> TrainingStep:
    rng = np.random.default_rng(layers)
    norms = [
        LayerNorms(2 * n, *rng.random((2, 4 + n)).astype(np.float32), float(np.float32(rng.random())), float("nan"))
        for n in range(layers)
    ]
    return TrainingStep(np.array((7, 0, 0, 99, 1.5, np.nan, 1e-4, np.nan, 0.5), STEP), tuple(norms))


def sent(step: TrainingStep) -> Message:
    frames = encode_step(4, step)
    return decode(memoryview(frames.header), frames.buffer.data, TO_CLIENT)


def assert_same(found: TrainingStep, expected: TrainingStep) -> None:
    assert found.row.tobytes() == expected.row.tobytes()
    assert [norms.layer for norms in found.layers] == [norms.layer for norms in expected.layers]
    for one, other in zip(found.layers, expected.layers, strict=True):
        np.testing.assert_array_equal(one.gradients, other.gradients)
        np.testing.assert_array_equal(one.outputs, other.outputs)
        np.testing.assert_array_equal([one.router, one.shared], [other.router, other.shared])


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_what_is_sent_arrives(layers: int) -> None:
    recorder = Recorder()
    model = random_model()
    with connected(recorder) as (there, _):
        stream = there.open_stream("tiny")
        stream.describe(model)
        stream.append(random_batch((1,), model, 20))
        stream.append_step(some_step(layers))
        stream.close()
        recorder.wait_for("ended")
    names = [call[0] for call in recorder.calls if call[0] in ("arrived", "stepped", "ended")]
    assert names == ["arrived", "stepped", "ended"]
    assert_same(recorder.all("stepped")[0], some_step(layers))


@pytest.mark.parametrize(
    ("fields", "arrays"),
    [
        ({}, {"row": None}),
        ({}, {"row": np.zeros(1, STEP)}),
        ({}, {"gradients": np.zeros(3, np.float32)}),
        ({}, {"outputs": None}),
        ({}, {"router": np.zeros(3, np.float64)}),
        ({"layers": [0, 1]}, {}),
        ({"layers": [0, 2, -4]}, {}),
        ({"experts": [4, 5, "6"]}, {}),
        ({"experts": [4, 5, 1 << 40]}, {}),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict, arrays: dict) -> None:
    message = sent(some_step())
    given = {name: array for name, array in {**message.arrays, **arrays}.items() if array is not None}
    with pytest.raises(LinkError):
        decode_step(Message("stepped", {**message.fields, **fields}, given))


def test_a_client_without_room_is_told_once() -> None:
    hub = Hub()
    try:
        record = hub.open("tiny")
        hub.join(None, b"1", 0.0, encode("welcome", {}))  # type: ignore[arg-type]
        (joined,) = hub.clients
        joined.outbox.travelling = 1 << 40
        before = joined.outbox.waiting
        hub.step(record, encode_step(record.number, some_step()))
        told = joined.outbox.waiting
        hub.step(record, encode_step(record.number, some_step()))
        assert before < told == joined.outbox.waiting
    finally:
        hub.bell.close()
