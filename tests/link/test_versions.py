"""Two versions refuse each other, and say what to do."""

import json
from unittest.mock import patch

import pytest
import zmq

from moedesk.link import client as client_module
from moedesk.link import door as door_module
from moedesk.link import server as server_module
from moedesk.link.message import encode
from moedesk.link.protocol import PROTOCOL, mismatch
from tests.support.link import SECONDS, Recorder, client, server

OLDER, NEWER = PROTOCOL - 1, PROTOCOL + 1


@pytest.mark.parametrize(
    ("app", "kernel", "cure"),
    [
        ((OLDER, "0.0.9"), (PROTOCOL, "0.1.0"), "run `pip install -U moedesk==0.1.0` in the app's Python"),
        ((PROTOCOL, "0.1.0"), (OLDER, "0.0.9"), "run `pip install -U moedesk==0.1.0` in the kernel's Python"),
    ],
)
def test_the_cure_is_for_the_older_side(app: tuple[int, str], kernel: tuple[int, str], cure: str) -> None:
    line = mismatch(app, kernel)
    assert cure in line
    assert "\n" not in line


@pytest.mark.parametrize(("protocol", "where"), [(OLDER, "the app's Python"), (NEWER, "the kernel's Python")])
def test_the_server_refuses_another_client(protocol: int, where: str) -> None:
    recorder = Recorder()
    with (
        server() as there,
        patch.object(client_module, "PROTOCOL", protocol),
        patch.object(client_module, "__version__", "7.7"),
        client(there.listen_local(), recorder),
    ):
        recorder.wait_for("lost")
        assert there.clients == 0
    assert [call[0] for call in recorder.calls] == ["lost"]
    (line,) = recorder.all("lost")
    assert f"(link protocol {protocol})" in line
    assert where in line
    assert ("moedesk==7.7" in line) == (protocol == NEWER)


@pytest.mark.parametrize(("protocol", "where"), [(OLDER, "the kernel's Python"), (NEWER, "the app's Python")])
def test_the_client_refuses_another_server(protocol: int, where: str) -> None:
    """A server that doesn't check, and says it has another version."""
    recorder = Recorder()
    with server() as there, patch.object(server_module, "mismatch", side_effect=AssertionError):
        real = there._greet

        def greet(door: zmq.Socket, identity: bytes, fields: dict, now: float) -> None:
            with patch.object(server_module, "PROTOCOL", protocol), patch.object(door_module, "PROTOCOL", protocol):
                real(door, identity, fields | {"protocol": protocol}, now)

        with patch.object(there, "_greet", greet), client(there.listen_local(), recorder):
            recorder.wait_for("lost")
    assert [call[0] for call in recorder.calls] == ["lost"]
    assert where in recorder.all("lost")[0]


def test_an_unknown_client_is_told_with_the_fields_of_every_version() -> None:
    context = zmq.Context()
    with server() as there:
        old = context.socket(zmq.DEALER)
        old.linger, old.rcvtimeo = 0, int(SECONDS * 1000)
        old.connect(there.listen_local().address)
        old.send_multipart(
            [bytes(part) for part in encode("hello", {"protocol": 999, "moedesk": "9.9", "news": [1]}).frames]
        )
        header = json.loads(old.recv_multipart()[0])
        assert header["kind"] == "refused"
        assert "pip install -U moedesk==9.9" in header["fields"]["reason"]
        old.close()
    context.term()
