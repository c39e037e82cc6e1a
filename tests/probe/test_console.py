"""``%load_ext moedesk``, and an app that greets: with a real shell and a real link, in this process."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

import moedesk
from moedesk.core.errors import MoedeskError
from moedesk.link.client import LinkClient
from moedesk.link.endpoint import Endpoint
from moedesk.link.keys import KeyPair
from moedesk.link.machine import machine_identity
from moedesk.link.protocol import PROTOCOL
from moedesk.link.server import LinkServer
from moedesk.probe.console import greeting
from moedesk.probe.console.greeting import greet
from moedesk.probe.console.loaded import Loaded
from moedesk.probe.console.moe import Moe
from tests.support.console import own_shell
from tests.support.noting_receiver import NotingReceiver
from tests.support.until import until

KEYS = KeyPair.make()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A shell, whose process has a link server of its own."""
    server = LinkServer()
    monkeypatch.setattr("moedesk.link.own_server.own_server", lambda: server)
    with own_shell(tmp_path, monkeypatch) as shell:
        yield shell
    server.close()


@pytest.fixture
def connect() -> Iterator[Callable[[dict[str, Any]], tuple[LinkClient, NotingReceiver]]]:
    """Function that connects an app to where a greeting says."""
    clients = []

    def connect(about: dict[str, Any]) -> tuple[LinkClient, NotingReceiver]:
        receiver = NotingReceiver()
        clients.append(LinkClient(Endpoint(about["address"], about["server_key"]), receiver, KEYS))
        assert receiver.next("connected")["protocol"] == PROTOCOL
        return clients[-1], receiver

    yield connect
    for client in clients:
        client.close()


def ran(shell: InteractiveShell, code: str) -> Any:
    """The value of a cell that works."""
    result = shell.run_cell(code)
    result.raise_error()
    return result.result


def test_the_extension_gives_its_names_and_takes_them_back(shell: InteractiveShell) -> None:
    ran(shell, "%load_ext moedesk")
    assert isinstance(ran(shell, "moe"), Moe)
    assert ran(shell, "moedesk.__version__") == moedesk.__version__
    assert ran(shell, "np.arange(3).sum()") == 3
    assert ran(shell, "inspect.isfunction(moedesk.attach)")
    ran(shell, "%unload_ext moedesk")
    assert not {"moe", "moedesk", "np", "sel", "inspect"} & shell.user_ns.keys()
    assert not shell.run_cell("$0").success


def test_loading_it_again_changes_nothing(shell: InteractiveShell) -> None:
    ran(shell, "%load_ext moedesk")
    before = ran(shell, "moe, sel, inspect")
    ran(shell, "%reload_ext moedesk")
    ran(shell, "import numpy as np")
    after = ran(shell, "moe, sel, inspect")
    assert all(a is b for a, b in zip(before[1:], after[1:], strict=True)) or before != after
    assert len([t for t in shell.input_transformer_manager.token_transformers if "Dollar" in t.__name__]) == 1


def test_a_users_own_variables_stay(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    ran(shell, "import inspect, numpy as np\nsel = 'mine'")
    mine = ran(shell, "inspect")
    capsys.readouterr()
    ran(shell, "%load_ext moedesk")
    said = capsys.readouterr().out.splitlines()
    assert ran(shell, "sel, inspect") == ("mine", mine)
    assert [line.split()[0] for line in said] == ["sel", "inspect"]  # np is numpy: nothing to say
    assert "moe.inspect(x)" in said[1]


def test_an_error_of_ours_is_one_line_in_the_shell(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    ran(shell, "%load_ext moedesk")
    capsys.readouterr()
    assert not shell.run_cell("$0.counts").success
    assert not shell.run_cell("moe.run('x')").success
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "NothingSelectedError: nothing is selected; click an expert, layer, token or pass in the app",
        'MoedeskError: no model to run; type moe.load("sample"), then moe.attach()',
    ]


def test_a_greeting_says_who_and_where(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    about = greet(KEYS.public, machine_identity())
    assert about["python"] == platform.python_version()
    assert (about["moedesk"], about["protocol"], about["pid"]) == (moedesk.__version__, PROTOCOL, os.getpid())
    assert (about["machine"], about["cwd"], about["notes"]) == (machine_identity(), str(Path.cwd()), [])
    assert about["address"].startswith("ipc://")
    assert about["server_key"] == ""
    assert greet(KEYS.public, machine_identity()) == about
    away = greet(KEYS.public, "another machine")
    assert away["address"].startswith("tcp://127.0.0.1:")
    assert len(away["server_key"]) == 40
    assert ran(shell, "moe") is not None


def test_the_port_can_be_given(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    monkeypatch.setenv("MOEDESK_LINK_PORT", str(port))
    assert greet(KEYS.public, "another machine")["address"] == f"tcp://127.0.0.1:{port}"
    for wrong in ("70000", "-1", "x"):
        monkeypatch.setenv("MOEDESK_LINK_PORT", wrong)
        with pytest.raises(MoedeskError, match="MOEDESK_LINK_PORT is"):
            greet(KEYS.public, "another machine")


def test_names_that_are_taken_are_told_to_the_app(shell: InteractiveShell) -> None:
    ran(shell, "sel = 3")
    assert greet(KEYS.public, machine_identity())["notes"][0].startswith("sel is a variable of yours")


@pytest.mark.parametrize("machine", [machine_identity(), "another machine"])
def test_an_app_selects_evaluates_records_and_is_shown_things(
    shell: InteractiveShell, connect: Any, sample: tuple[Any, Any], machine: str
) -> None:
    client, app = connect(greet(KEYS.public, machine))
    shell.user_ns.update(model=sample[0], tokenizer=sample[1])
    ran(shell, "moe.attach(model, tokenizer)")
    stream, _ = app.next("opened")

    run = ran(shell, "moe.run('def add(a, b):', 3)")
    arrived = [app.next("arrived") for _ in range(3)]
    assert {number for number, _ in arrived} == {stream}
    ids = np.concatenate([batch.tokens["main"]["token_id"] for _, batch in arrived])
    np.testing.assert_array_equal(ids, run.token_ids[0][:-1])  # the last new token isn't run through the model
    assert ran(shell, "moe.status()").clients == 1

    history = [{"kind": "expert", "layer": 2, "expert": 5, "experts_path": "model.layers.2.mlp.experts"}]
    client.request("selection", {"history": history}, {"0.counts": np.arange(16)})
    until(lambda: len(shell.user_ns["sel"]) == 1)
    assert ran(shell, "$0.count, $0.expert") == (5, 5)
    assert ran(shell, "$0.module is model.model.layers[2].mlp.experts")

    client.request("evaluate", {"request": 7, "text": "$0.share * 120"})
    assert app.next("answered") == (7, "5.0", True)
    client.request("evaluate", {"request": 8, "text": "nope"})
    assert app.next("answered") == (8, "NameError: name 'nope' is not defined", False)

    ran(shell, "inspect(model.model.layers[4].mlp)")
    assert app.next("revealed") == {"kind": "layer", "layer": 4}

    client.request("record", {"stream": stream, "on": False})
    until(lambda: "paused" in ran(shell, "moe.status().title"))
    assert ran(shell, "moe.run('x', 2).passes") == 0
    client.request("record", {"stream": stream, "on": True})
    until(lambda: "attached" in ran(shell, "moe.status().title"))
    ran(shell, "moe.detach()")
    assert app.next("ended") == stream


def test_a_model_attached_without_moe_is_paused_too(
    shell: InteractiveShell, connect: Any, sample: tuple[Any, Any]
) -> None:
    client, app = connect(greet(KEYS.public, machine_identity()))
    attachment = moedesk.attach(*sample)
    try:
        client.request("record", {"stream": app.next("opened")[0], "on": False})
        until(lambda: not attachment.recording)
        with torch.no_grad():
            sample[0](torch.tensor([[3]]))
        assert attachment.passes == 0
    finally:
        attachment.detach()


def completions(shell: InteractiveShell, text: str) -> set[str]:
    with provisionalcompleter():
        return {text[: found.start] + found.text for found in shell.Completer.completions(text, len(text))}


def test_attributes_of_selections_are_completed(shell: InteractiveShell) -> None:
    about = {"kind": "expert", "layer": 2, "expert": 5, "experts_path": "experts"}
    shell.user_ns["fc"] = torch.nn.Linear(1, 1)
    ran(shell, "%load_ext moedesk")
    shell.user_ns["moe"]._loaded = Loaded(torch.nn.ModuleDict({"experts": shell.user_ns["fc"]}), None)
    shell.user_ns["sel"].take({"history": [about]}, {})
    assert completions(shell, "x = $0.coun") == {"x = $0.count", "x = $0.counts"}
    assert completions(shell, "f(sel[0].para") == {"f(sel[0].parameters"}
    assert completions(shell, "$0.module.weig") == {"$0.module.weight"}
    assert "$0.and" not in completions(shell, "$0.")
    assert completions(shell, "$1.coun") == completions(shell, "$0.nothing.weig") == set()
    assert "inspect.signature" in completions(shell, "inspect.signat")
    ran(shell, "%unload_ext moedesk")
    assert "x = $0.count" not in completions(shell, "x = $0.coun")


def test_expressions_answer_while_a_cell_runs(shell: InteractiveShell, connect: Any) -> None:
    client, app = connect(greet(KEYS.public, machine_identity()))
    shell.user_ns["app"], shell.user_ns["client"] = app, client
    cell = "n = 41\nclient.request('evaluate', {'request': 1, 'text': 'n + 1'})\nanswer = app.next('answered')"
    ran(shell, cell)  # the cell waits for the answer
    assert shell.user_ns["answer"] == (1, "42", True)


def test_faults_go_to_the_file_that_the_app_reads(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from moedesk.probe.console.faults import watch_faults\n"
        "def stuck_here():\n    os.kill(os.getpid(), signal.SIGUSR1)\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
        "watch_faults(); watch_faults(); stuck_here()"
    )
    file = tmp_path / "fault.txt"
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "MOEDESK_FAULT_FILE": str(file)}, check=False
    )
    assert ended.returncode < 0
    text = file.read_text()
    assert text.count("stuck_here") == 2
    assert "Segmentation fault" in text


def test_a_greeting_does_not_load_torch() -> None:
    """An app that connects waits for it; torch takes seconds."""
    code = (
        "import sys\nfrom IPython.core.interactiveshell import InteractiveShell\n"
        "from moedesk.probe.console.greeting import load_ipython_extension\n"
        "shell = InteractiveShell.instance(); shell.history_manager.enabled = False\n"
        "load_ipython_extension(shell); repr(shell.user_ns['moe']); shell.user_ns['moe'].server\n"
        "print([name for name in ('torch', 'transformers', 'h5py', 'PySide6') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_tasks_about_another_model_are_refused(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    ran(shell, "%load_ext moedesk")
    console = greeting._consoles[id(shell)]
    done: list[object] = []
    console.on_task("look", lambda value, progress: done.append(value["stream"]) or {})
    other, own = (
        SimpleNamespace(stream=7, module=object(), name="mixtral"),
        SimpleNamespace(stream=8, module=console.moe.model),
    )
    monkeypatch.setattr("moedesk.probe.attach.attached", lambda: (other, own))
    look = console._tasks._functions["look"]
    with pytest.raises(
        MoedeskError, match=r"moe has another model than this session's; type moe.attach\(model\) with mixtral"
    ):
        look({"stream": 7}, lambda share, text: None)
    look({"stream": 8}, lambda share, text: None)
    assert done == [8]
