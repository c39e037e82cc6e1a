"""Messages that make no sense are refused in one line, whatever they hold, and harm neither side."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from moedesk.link.endpoint import Endpoint
from moedesk.link.message import APART_BYTES, Frames, decode, encode, whole
from moedesk.link.protocol import PROTOCOL, TO_CLIENT, TO_SERVER, LinkError
from moedesk.link.routes import decode_batch, encode_batch
from moedesk.link.texts import decode_texts, encode_texts
from tests.support.link import SECONDS, Recorder, client, connected, server
from tests.support.routing import random_batch, random_model

GOOD = encode_batch(1, random_batch((1,), random_model(), 5))


def read(header: bytes, buffer: bytes) -> Any:
    message = decode(memoryview(header), memoryview(buffer), TO_CLIENT)
    return decode_batch(message) if message.kind == "batch" else message


def changed(**new: Any) -> bytes:
    return json.dumps(json.loads(GOOD.header) | new).encode()


def with_fields(**new: Any) -> bytes:
    return changed(fields=json.loads(GOOD.header)["fields"] | new)


def with_array(place: int, item: Any) -> bytes:
    arrays = json.loads(GOOD.header)["arrays"]
    arrays[place] = item
    return changed(arrays=arrays)


HEADERS = {
    "nothing": b"",
    "no JSON": b"{",
    "no utf-8": b'{"kind": "\xff"}',
    "no object": b"[]",
    "deep": b"[" * 200_000,
    "endless number": b'{"kind": ' + b"9" * 10_000 + b"}",
    "unknown kind": changed(kind="pickle"),
    "kind of another side": changed(kind="hello"),
    "kind no text": changed(kind=[1]),
    "fields no object": changed(fields=[]),
    "a field missing": changed(fields={"streams": [], "groups": []}),
    "a field of another type": with_fields(stream=True),
    "arrays no list": changed(arrays={}),
    "object dtype": with_array(0, ["header", "|O", []]),
    "unknown dtype": with_array(0, ["header", "PICKLE", []]),
    "negative shape": with_array(1, ["tokens.0", "TOKEN", [-1]]),
    "shape of truth": with_array(1, ["tokens.0", "TOKEN", [True]]),
    "overflowing shape": with_array(1, ["tokens.0", "|u1", [1 << 39, 1 << 39, 1 << 39]]),
    "too many dimensions": with_array(1, ["tokens.0", "|u1", [1, 1, 1, 1, 5]]),
    "beyond the buffer": with_array(1, ["tokens.0", "TOKEN", [10**6]]),
    "a name twice": with_array(1, ["header", "TOKEN", [5]]),
    "less than the buffer": changed(arrays=json.loads(GOOD.header)["arrays"][:-1]),
    "no header": with_array(0, ["footer", "PASS", []]),
    "header of another dtype": with_array(0, ["header", "|u1", [GOOD.buffer.nbytes]]),
    "stream name no text": with_fields(streams=[7]),
    "stream without rows": with_fields(streams=["main", "other"]),
    "group no object": with_fields(groups=[3]),
    "layers negative": with_fields(groups=[{"layers": [-1, 0, 1], "experts": 16}]),
    "layers too few": with_fields(groups=[{"layers": [0, 1], "experts": 16}]),
    "a layer twice": with_fields(groups=[{"layers": [0, 1, 1], "experts": 16}]),
    "counts of other experts": with_fields(groups=[{"layers": [0, 1, 2], "experts": 2}]),
    "endless experts": with_fields(groups=[{"layers": [0, 1, 2], "experts": 1 << 60}]),
}


def test_the_good_one_is_good() -> None:
    read(GOOD.header, GOOD.buffer.tobytes())


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_refused(header: bytes) -> None:
    with pytest.raises(LinkError) as caught:
        read(header, GOOD.buffer.tobytes())
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200), st.binary(max_size=64))
def test_noise(header: bytes, buffer: bytes) -> None:
    with pytest.raises(LinkError):
        read(header, buffer)


@given(st.data())
def test_a_good_one_with_something_changed(data: st.DataObject) -> None:
    header, buffer = bytearray(GOOD.header), bytearray(GOOD.buffer.tobytes())
    for _ in range(data.draw(st.integers(1, 4))):
        header[data.draw(st.integers(0, len(header) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del buffer[data.draw(st.integers(0, len(buffer))) :]
    with contextlib.suppress(LinkError):
        read(bytes(header), bytes(buffer))


def test_large_arrays_are_frames_of_their_own() -> None:
    large, small = np.arange(APART_BYTES // 8 + 3), np.arange(5, dtype=np.int32)
    rows = np.arange(2 * APART_BYTES, dtype=np.uint8).reshape(2, -1)[:, ::2]  # not contiguous
    frames = encode("selection", {"history": []}, [whole("a", large), whole("b", small), whole("c", rows)])
    header, near, *apart = map(memoryview, frames.frames)
    assert near.nbytes == small.nbytes
    assert np.shares_memory(np.frombuffer(apart[0], np.uint8), large), "no copy"
    assert frames.nbytes == sum(part.nbytes for part in (header, near, *apart))
    message = decode(header, near, TO_SERVER, *apart)
    assert message.nbytes == frames.nbytes
    for name, array in (("a", large), ("b", small), ("c", rows)):
        np.testing.assert_array_equal(message.arrays[name], array)
        assert not message.arrays[name].flags.writeable
    first, second = apart
    for wrong in ([], [first], [second, first], [first, second, near], [first[:-8], second], [second, second]):
        with pytest.raises(LinkError):
            decode(header, near, TO_SERVER, *wrong)


def test_texts_whose_ends_are_none() -> None:
    frames = encode_texts(1, [3, 4], [b"ab", b"c"])

    def with_ends(ends: list[int]) -> Frames:
        parts = [whole("ids", np.array([3, 4])), whole("ends", np.array(ends)), whole("bytes", np.zeros(3, np.uint8))]
        return encode("texts", {"stream": 1}, parts)

    decode_texts(decode(memoryview(frames.header), frames.buffer.data, TO_CLIENT))
    for ends in ([2, 4], [3, 2], [-1, 3], [1 << 62, 3]):
        bad = with_ends(ends)
        with pytest.raises(LinkError):
            decode_texts(decode(memoryview(bad.header), bad.buffer.data, TO_CLIENT))


def test_only_plain_values_are_sent() -> None:
    for array in (np.array([object()]), np.array(["text"]), np.zeros(2, ">i4"), np.zeros(2, "c8")):
        with pytest.raises(LinkError, match="dtype"):
            encode("selection", {"history": []}, [whole("a", array)])
    for fields in ({"history": [object()]}, {"history": [{1, 2}]}):
        with pytest.raises(LinkError, match="selection"):
            encode("selection", fields)


BAD_FOR_SERVER: dict[str, list[bytes]] = {
    "one frame": [b"{}"],
    "three frames": [b"{}", b"", b""],
    "noise": [b"\x80\x04pickle", b""],
    "of the other side": list(map(bytes, (GOOD.header, GOOD.buffer.tobytes()))),
    "hello again": [bytes(part) for part in encode("hello", {"protocol": PROTOCOL, "moedesk": "0"}).frames],
    "record without stream": [b'{"kind": "record", "fields": {"on": true}, "arrays": []}', b""],
}


@pytest.mark.parametrize("frames", BAD_FOR_SERVER.values(), ids=BAD_FOR_SERVER)
def test_the_server_refuses_and_goes_on(frames: list[bytes]) -> None:
    recorder = Recorder()
    context = zmq.Context()
    with connected(recorder) as (there, here):
        bad = context.socket(zmq.DEALER)
        bad.linger, bad.rcvtimeo = 0, int(SECONDS * 1000)
        bad.connect(there.listen_local().address)
        bad.send_multipart([bytes(part) for part in encode("hello", {"protocol": PROTOCOL, "moedesk": "0"}).frames])
        assert kind(bad) == "welcome"
        assert there.clients == 2
        bad.send_multipart(frames)
        header = json.loads(bad.recv_multipart()[0])
        assert header["kind"] == "refused"
        assert "\n" not in header["fields"]["reason"]
        assert there.clients == 1
        bad.send_multipart([b"more"])
        there.reveal({"kind": "layer", "layer": 1})
        assert recorder.wait_for("revealed") == [{"kind": "layer", "layer": 1}]
        assert here.answered_at > 0
        bad.close()
        context.term()


def kind(socket: zmq.Socket) -> str:
    return str(json.loads(socket.recv_multipart()[0])["kind"])


def fake_server(context: zmq.Context, answer: Callable[[], list[list[bytes]]], path: str, recorder: Recorder) -> None:
    """Answers hello with what it is told to, and waits until the client has given up."""
    door = context.socket(zmq.ROUTER)
    door.linger, door.rcvtimeo = 0, int(SECONDS * 1000)
    door.bind(f"ipc://{path}")
    with client(Endpoint(f"ipc://{path}"), recorder):
        identity = door.recv_multipart()[0]
        for frames in answer():
            door.send_multipart([identity, *frames])
        recorder.wait_for("lost")
    door.close()


WELCOME = [bytes(part) for part in encode("welcome", {"protocol": PROTOCOL, "moedesk": "0"}).frames]
BAD_FOR_CLIENT: dict[str, list[bytes]] = {
    "one frame": [b"{}"],
    "noise": [b"\x80\x04pickle", b"x"],
    "a bad batch": [HEADERS["a layer twice"], GOOD.buffer.tobytes()],
    "no model": [b'{"kind": "described", "fields": {"stream": 1}, "arrays": []}', b""],
    "a model of noise": [b'{"kind": "described", "fields": {"stream": 1}, "arrays": [["json", "|u1", [3]]]}', b"{}}"],
    "counters no numbers": [
        b'{"kind": "counted", "fields": {"stream": 1, "counters": {"passes": "7"}}, "arrays": []}',
        b"",
    ],
}


@pytest.mark.parametrize("frames", BAD_FOR_CLIENT.values(), ids=BAD_FOR_CLIENT)
def test_the_client_lets_go_and_says_so(frames: list[bytes]) -> None:
    recorder, context = Recorder(), zmq.Context()
    with server() as any_server:  # a short path for the socket
        path = any_server.listen_local().address.removeprefix("ipc://") + "2"
        fake_server(context, lambda: [WELCOME, frames, WELCOME], path, recorder)
    context.term()
    assert [call[0] for call in recorder.calls] == ["connected", "lost"]
    (line,) = recorder.all("lost")
    assert line.startswith("the kernel sent ")
    assert "\n" not in line


def test_what_came_before_the_end_is_read_to_the_last() -> None:
    """More than is read at a time, and the connection is gone at once."""
    recorder, context = Recorder(), zmq.Context()
    lines = [[bytes(part) for part in encode("noted", {"stream": 1, "line": f"{n}"}).frames] for n in range(5000)]
    with server() as any_server:
        path = any_server.listen_local().address.removeprefix("ipc://") + "2"
        door = context.socket(zmq.ROUTER)
        door.linger, door.rcvtimeo, door.sndhwm = -1, int(SECONDS * 1000), 0
        door.bind(f"ipc://{path}")
        with client(Endpoint(f"ipc://{path}"), recorder):
            identity = door.recv_multipart()[0]
            for frames in [WELCOME, *lines]:
                door.send_multipart([identity, *frames])
            door.close()
            context.term()
            recorder.wait_for("lost")
    assert recorder.all("noted") == [f"{n}" for n in range(5000)]
    assert "connection to the kernel is gone" in recorder.all("lost")[0]


def test_kinds_of_the_two_sides_differ() -> None:
    assert not set(TO_CLIENT) & set(TO_SERVER)
