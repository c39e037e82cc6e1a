"""Who may connect: on this machine the user, over the network only keys that were allowed."""

import contextlib
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import zmq

from moedesk.link.endpoint import Endpoint
from moedesk.link.folder import SocketFolder
from moedesk.link.keys import KeyPair
from moedesk.link.protocol import LinkError
from moedesk.link.server import LinkServer
from tests.support.link import Recorder, assert_same, client, server
from tests.support.routing import random_batch, random_model
from tests.support.until import PATIENCE


def test_an_allowed_key_gets_everything() -> None:
    recorder, keys, model = Recorder(), KeyPair.make(), random_model()
    with server() as there:
        endpoint = there.listen_tcp()
        assert endpoint.address.startswith("tcp://127.0.0.1:")
        assert not endpoint.local
        there.allow(keys.public)
        with client(endpoint, recorder, keys):
            recorder.wait_for("connected")
            stream = there.open_stream("m")
            for seed in range(3):
                stream.append(random_batch((seed,), model, 3000))
            stream.close()
            recorder.wait_for("ended")
    for seed, batch in enumerate(recorder.all("arrived")):
        assert_same(batch, random_batch((seed,), model, 3000))


def refused(endpoint: Endpoint, keys: KeyPair, there: LinkServer) -> str:
    recorder = Recorder()
    with client(endpoint, recorder, keys):
        recorder.wait_for("lost")
        assert there.clients == 0
    assert [call[0] for call in recorder.calls] == ["lost"]
    (line,) = recorder.all("lost")
    assert "\n" not in line
    assert keys.secret not in line
    return str(line)


def test_a_key_that_was_not_allowed() -> None:
    keys = KeyPair.make()
    with server() as there:
        endpoint = there.listen_tcp()
        assert "doesn't know this app's key" in refused(endpoint, keys, there)
        there.allow(KeyPair.make().public)
        assert "doesn't know this app's key" in refused(endpoint, keys, there)


def test_another_server_key() -> None:
    keys = KeyPair.make()
    with server() as there:
        endpoint = there.listen_tcp()
        there.allow(keys.public)
        other = Endpoint(endpoint.address, KeyPair.make().public)
        assert "doesn't have the kernel's key" in refused(other, keys, there)


def test_without_encryption_nothing_gets_in() -> None:
    """A plain zmq socket at the encrypted door: no frame of it ever reaches the server."""
    context = zmq.Context()
    with server() as there:
        address = there.listen_tcp().address
        plain = context.socket(zmq.DEALER)
        plain.linger = 0
        failed = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_DISCONNECTED
        monitor = plain.get_monitor_socket(failed)
        plain.connect(address)
        with contextlib.suppress(zmq.Again):  # the door may be shut already; without NOBLOCK it would wait for ever
            hello = b'{"kind": "hello", "fields": {"protocol": 1, "moedesk": ""}, "arrays": []}'
            plain.send_multipart([hello, b""], zmq.NOBLOCK)
        assert monitor.poll(round(1000 * PATIENCE))
        assert there.clients == 0
        plain.disable_monitor()
        monitor.close()
        plain.close()
    context.term()


def test_nobody_listens() -> None:
    keys = KeyPair.make()
    with server() as there:
        gone = there.listen_local()
        far = there.listen_tcp()
        there.close()
        for endpoint in (gone, far):
            assert "nobody listens" in refused(endpoint, keys, there)


def test_what_is_no_key() -> None:
    with server() as there:
        for text in ("", "short", "ü" * 40, "~" * 40, KeyPair.make().public + "x"):
            with pytest.raises(LinkError):
                there.allow(text)
            with pytest.raises(LinkError):
                client(Endpoint("tcp://127.0.0.1:1", text), Recorder(), KeyPair.make()).__enter__()
        with pytest.raises(LinkError, match="keys"):
            client(Endpoint("tcp://127.0.0.1:1", KeyPair.make().public), Recorder()).__enter__()


def test_a_taken_port() -> None:
    with server() as there, server() as other:
        port = int(there.listen_tcp().address.rpartition(":")[2])
        with pytest.raises(LinkError, match="another port") as caught:
            other.listen_tcp(port=port)
        assert "\n" not in str(caught.value)


def test_secrets_stay_secret() -> None:
    keys = KeyPair.make()
    assert keys.public in repr(keys)
    assert keys.secret not in repr(keys)
    assert keys.secret not in str(keys)
    with server() as there:
        endpoint = there.listen_tcp()
        assert there._keys is not None
        assert endpoint.server_key == there._keys.public
        assert there._keys.secret not in repr(endpoint)


def test_the_folder_of_a_local_socket_is_the_owners() -> None:
    with server() as there:
        path = Path(there.listen_local().address.removeprefix("ipc://"))
        assert path.is_socket()
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert path.parent.stat().st_uid == os.getuid()
    assert not path.parent.exists()


STARTING = """
import socket, sys, tempfile
from pathlib import Path
tempfile.tempdir = str(Path.cwd())
from moedesk.link.folder import SocketFolder
folder = SocketFolder()
with socket.socket(socket.AF_UNIX) as bound:
    bound.bind(folder.address.removeprefix("ipc://"))
    print(folder.path, flush=True)
    sys.stdin.read()
"""


def test_a_folder_left_behind_is_removed_and_a_live_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(tempfile.mkdtemp(dir="/tmp", prefix="md"))
    monkeypatch.setattr(tempfile, "tempdir", str(root))
    try:
        # Another process, which lives until its stdin is closed. Its socket is bound, and nobody listens yet.
        with subprocess.Popen(
            [sys.executable, "-c", STARTING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            folder = Path(process.stdout.readline().strip())
            meanwhile = SocketFolder()
            assert folder.parent == meanwhile.path.parent == root
            assert (folder / "link").exists(), "it is about to listen"
            process.stdin.close()
        later = SocketFolder()
        assert not folder.exists(), "its process has ended"
        assert meanwhile.path.exists()
        meanwhile.remove()
        later.remove()
        root.chmod(0o700)
        monkeypatch.setattr(tempfile, "tempdir", str(root / "missing"))
        with pytest.raises(LinkError, match="TMPDIR"):
            SocketFolder()
    finally:
        root.rmdir()


def test_arrays_of_a_selection_through_encryption() -> None:
    recorder, keys = Recorder(), KeyPair.make()
    with server() as there:
        endpoint = there.listen_tcp()
        there.allow(keys.public)
        there.on(
            "selection", lambda number, fields, arrays: there.answer(number, 1, str(arrays["0.counts"].sum()), True)
        )
        with client(endpoint, recorder, keys) as here:
            here.request("selection", {"history": [{}]}, {"0.counts": np.arange(100_000)})
            assert recorder.wait_for("answered") == [True]
    assert ("answered", 1, str(99_999 * 50_000), True) in recorder.calls
