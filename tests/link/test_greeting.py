"""The first words with a kernel, and kernels that somebody else started."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import moedesk
from moedesk.link.connection import CHANNELS, KernelError, read_connection
from moedesk.link.foreign_kernel import ForeignKernel
from moedesk.link.greeting import Greeting, expression, parse, trouble
from moedesk.link.keys import KeyPair
from moedesk.link.machine import machine_identity
from moedesk.link.protocol import PROTOCOL
from moedesk.link.ssh import Tunnel, fetch_connection, through
from tests.support import fake_ssh
from tests.support.kernels import (  # noqa: F401
    Line,
    Watched,
    bare_python,
    own_ipython,
    python_with_moedesk,
    script,
)
from tests.support.until import until


@pytest.fixture(scope="module")
def kernel() -> Iterator[Watched]:
    """A kernel that the tests of this file share."""
    with Watched() as watched:
        yield watched


def greet(watched: Watched) -> dict[str, Any]:
    """Return a kernel's greeting."""
    greeting = Greeting(read_connection(watched.process.connection_file), KeyPair.make().public)
    answers: list[dict[str, Any]] = []

    def heard() -> bool:
        about = greeting.poll(0.1)
        if about is not None:
            answers.append(about)
        return bool(answers)

    try:
        until(heard)
    finally:
        greeting.close()
    return answers[0]


def test_a_kernel_greets_and_keeps_its_names(kernel: Watched) -> None:
    with Line(kernel.process.connection_file) as line:
        about = greet(kernel)
        names = set(json.loads(line.value("__import__('json').dumps([n for n in globals() if n[0] != '_'])")[1:-1]))
        count = line.value("get_ipython().execution_count")
    assert trouble(about) == ""
    assert (about["moedesk"], about["protocol"]) == (moedesk.__version__, PROTOCOL)
    assert about["pid"] == kernel.process.pid
    assert about["address"].startswith("ipc://")  # the same machine
    assert {"moe", "moedesk", "np"} <= names
    assert not {"answer", "asked", "json", "sys"} & names
    assert count == "1"


def test_a_greeting_waits_for_a_cell_that_then_fails(kernel: Watched, tmp_path: Path) -> None:
    """A cell that fails throws the queue behind it away, the greeting with it: it is asked for again."""
    end = tmp_path / "end"
    cell = f"import os, time\nwhile not os.path.exists({str(end)!r}): time.sleep(0.01)\n1 / 0"
    greeting = Greeting(read_connection(kernel.process.connection_file), KeyPair.make().public)
    try:
        with Line(kernel.process.connection_file) as line:
            line.run_until(tmp_path / "runs", cell)
            assert greeting.poll(10) is None  # the kernel says what it is, and is asked to greet behind the cell
            assert greeting.poll(0.3) is None
            end.touch()
            until(lambda: greeting.poll(0.1) is not None)
            assert line.reply()["ename"] == "ZeroDivisionError"
    finally:
        greeting.close()


def test_a_kernel_on_another_machine_is_told_an_encrypted_port() -> None:
    asked = expression("x" * 40, "another machine")
    assert "'another machine'" in asked
    assert machine_identity() != "another machine"
    done = subprocess.run(
        [sys.executable, "-c", "from moedesk.link.machine import machine_identity; print(machine_identity())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == machine_identity()  # the same in every process of this machine


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({"executable": "/env/bin/python"}, "/env/bin/python -m pip install moedesk=={here}, then restart the kernel"),
        ({"moedesk": "0.0.1"}, "too old for this app ({here}): python -m pip install -U moedesk=={here}"),
        ({"moedesk": "0.0.1", "protocol": PROTOCOL - 1}, "too old"),
        ({"moedesk": "9.9", "protocol": PROTOCOL + 1}, "-m pip install -U moedesk==9.9, then restart the app"),
        ({"moedesk": "0.1.0", "protocol": PROTOCOL, "missing": "h5py", "error": "No module"}, "pip install h5py, then"),
        (
            {"moedesk": "0.1.0", "protocol": PROTOCOL, "error": "MoedeskError: no shell"},
            "could not greet: MoedeskError",
        ),
        ({"moedesk": "0.1.0", "protocol": PROTOCOL}, "gave no address"),
        ({"moedesk": "0.1.0", "protocol": PROTOCOL, "address": "ipc:///x"}, ""),
    ],
)
def test_trouble_names_the_cure(about: dict[str, Any], says: str) -> None:
    said = trouble(about)
    assert says.format(here=moedesk.__version__) in said
    assert bool(said) == bool(says)
    assert "\n" not in said


def test_the_expression_runs_where_moedesk_is_missing_or_old(tmp_path: Path) -> None:
    code = f"import json; print({expression('x' * 40, 'm')})"
    for python, says in ((bare_python(tmp_path), "No moedesk"), (python_with_moedesk(tmp_path, "0.0.1", 0), "too old")):
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert says in trouble(json.loads(done.stdout))


@pytest.mark.parametrize("value", [{}, {"data": {}}, {"data": {"text/plain": "'no json'"}}, {"evalue": "boom"}])
def test_an_answer_that_makes_no_sense_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(KernelError, match="could not greet"):
        parse({"user_expressions": {"greeting": value}})


def test_a_port_that_is_not_reached_is_told_with_the_command(kernel: Watched, unused_port: int) -> None:
    foreign = ForeignKernel(kernel.process.connection_file)
    address = f"tcp://127.0.0.1:{unused_port}"
    assert foreign.link_address(address) is None
    assert f"ssh -N -L {unused_port}:127.0.0.1:{unused_port} user@host" in foreign.unreachable(address)
    assert foreign.link_address("ipc:///somewhere") == "ipc:///somewhere"
    assert foreign.heart_beats()
    assert not foreign.is_gone({"pid": kernel.process.pid, "machine": machine_identity()})
    foreign.close()
    assert kernel.process.pid is not None  # it goes on


@pytest.fixture
def unused_port() -> int:
    """A port at which nobody listens."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def use_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Put another ssh first on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script(folder / "ssh", text)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("echo 'me@host: Permission denied (publickey).' >&2; exit 255", "ssh-copy-id"),
        ("echo 'Host key verification failed.' >&2; exit 255", "run ssh me@host once"),
        ("exit 3", "exit code 3"),
    ],
)
def test_what_ssh_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str) -> None:
    use_ssh(tmp_path, monkeypatch, text)
    tunnel = Tunnel("me@host", (1,))
    lines: list[str] = []

    def failed() -> bool:
        try:
            return tunnel.ready
        except KernelError as error:
            lines.append(str(error))
            return True

    until(failed)
    tunnel.close()
    assert says in lines[0]
    assert "\n" not in lines[0]


@pytest.mark.parametrize("host", ["", "-oProxyCommand=x", "a b"])
def test_a_host_that_is_none_never_reaches_ssh(host: str) -> None:
    with pytest.raises(KernelError, match="no ssh host"):
        Tunnel(host, (1,))


def test_a_connection_file_is_read_on_the_other_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_ssh(tmp_path, monkeypatch, f'exec "{sys.executable}" "{fake_ssh.__file__}" "$@"')
    there = tmp_path / "there" / "kernel-1.json"
    there.parent.mkdir()
    ports = {f"{channel}_port": 5 + place for place, channel in enumerate(CHANNELS)}
    there.write_text(json.dumps({"ip": "127.0.0.1", "transport": "tcp", "key": "k", **ports}))
    assert fetch_connection(str(there), "me@host").fields["shell_port"] == 5
    with pytest.raises(KernelError, match="No such file"):
        fetch_connection(str(tmp_path / "it's not here"), "me@host")
    with pytest.raises(KernelError, match="no tunnel can reach them"):
        through(read_connection(write(tmp_path, {**ports, "transport": "ipc"})), "me@host", tmp_path)


def write(folder: Path, fields: dict[str, Any]) -> Path:
    path = folder / "kernel-2.json"
    path.write_text(json.dumps({"ip": "127.0.0.1", "key": "k", **fields}))
    return path
