"""moedesk in a Jupyter kernel of its own process, without the app."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from moedesk.link.client import LinkClient
from moedesk.link.endpoint import Endpoint
from moedesk.link.greeting import expression, parse
from moedesk.link.keys import KeyPair
from moedesk.link.machine import machine_identity
from tests.support.noting_receiver import NotingReceiver
from tests.support.until import PATIENCE


class Notebook:
    """Runs cells in a kernel, and keeps what they show."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def start(self, cell: str, **options: Any) -> str:
        return self.client.execute(cell, **options)

    def output(self, cell_id: str) -> dict[str, Any]:
        """What a cell showed, when it is done: ``text``, ``data``, ``error``."""
        shown: dict[str, Any] = {"text": "", "data": {}, "error": []}
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") != cell_id:
                continue
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    shown["text"] += content["text"]
                case "execute_result":
                    shown["data"] = content["data"]
                case "error":
                    shown["error"] = content["traceback"]
                case "status" if content["execution_state"] == "idle":
                    return shown

    def run(self, cell: str) -> dict[str, Any]:
        return self.output(self.start(cell))

    def greet(self, keys: KeyPair) -> dict[str, Any]:
        """What the app asks silently."""
        question = {"greeting": expression(keys.public, machine_identity())}
        request = self.client.execute("", silent=True, store_history=False, user_expressions=question)
        while True:
            reply = self.client.get_shell_msg(timeout=PATIENCE)
            if reply["parent_header"].get("msg_id") == request:
                return parse(reply["content"])


@pytest.fixture
def notebook(tmp_path: Any) -> Iterator[Notebook]:
    """A kernel as Jupyter starts one; killed at the end."""
    manager = KernelManager(connection_file=str(tmp_path / "kernel with a space.json"))
    manager.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        yield Notebook(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def test_a_notebook_and_then_an_app(notebook: Notebook, tmp_path: Any) -> None:
    assert notebook.run("%load_ext moedesk") == {"text": "", "data": {}, "error": []}
    loaded = notebook.run('moe.load("sample")')
    assert loaded["error"] == []
    lines = loaded["text"].split("\r")
    assert lines[0].startswith("loading sample: ")
    assert lines[-1].startswith("loaded sample · ")
    assert loaded["data"]["text/plain"].startswith("OlmoeForCausalLM · 5,061,760 parameters")
    attached = notebook.run("moe.attach()")["data"]
    assert f"moedesk --kernel '{tmp_path / 'kernel with a space.json'}'" in attached["text/plain"]
    ran = notebook.run('moe.run("def add(a, b):", 4)')
    assert (ran["text"], ran["error"]) == ("", [])
    shown = ran["data"]
    assert "4 passes recorded" in shown["text/plain"]
    assert "data:image/png;base64," in shown["text/html"]
    assert notebook.run("$0")["error"] == [
        "NothingSelectedError: nothing is selected; click an expert, layer, token or pass in the app"
    ]
    assert notebook.run("1 + 1")["data"]["text/plain"] == "2"
    assert notebook.run("$_ + 1")["data"]["text/plain"] == "3"

    keys, app = KeyPair.make(), NotingReceiver()
    about = notebook.greet(keys)
    assert about["notes"] == []
    client = LinkClient(Endpoint(about["address"], about["server_key"]), app, keys)
    try:
        app.next("connected")
        assert len(app.next("described")[1].layers) == 6
        cell = notebook.start("import threading; go = threading.Event(); go.wait()")
        client.request("selection", {"history": [{"kind": "module", "module": "lm_head"}]})
        client.request("evaluate", {"request": 1, "text": "$0.module.weight"})  # answered while the cell runs
        assert app.next("answered") == (1, "Parameter float32 (2048, 128) " + _first(app, client), True)
        client.request("evaluate", {"request": 3, "text": "go.set()"})
        assert notebook.output(cell)["data"]["text/plain"] == "True"
        notebook.run('inspect("3.7")')
        assert app.next("revealed") == {"kind": "expert", "layer": 3, "expert": 7}
    finally:
        client.close()


def _first(app: NotingReceiver, client: LinkClient) -> str:
    """The first weights, asked for another way."""
    client.request("evaluate", {"request": 2, "text": "[round(x, 9) for x in model.lm_head.weight[0, :6].tolist()]"})
    numbers = app.next("answered")[1].strip("[]").split(", ")
    return "[" + ", ".join(f"{float(number):.4g}" for number in numbers) + ", …]"
