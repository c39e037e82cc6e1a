"""A kernel of its own process whose frontend answers the prompt of a stop, and what an app is told of stops."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

from moedesk.link.client import LinkClient
from moedesk.link.endpoint import Endpoint
from moedesk.link.greeting import expression, parse
from moedesk.link.keys import KeyPair
from moedesk.link.machine import machine_identity
from tests.support.link import Recorder
from tests.support.until import PATIENCE

PROMPT = "stopped at 1."
START = """\
%load_ext moedesk
import torch
loaded = moe.load("sample"); moe.attach()
inputs = tokenizer("def add(a, b):", return_tensors="pt")
def run():
    with torch.no_grad():
        return model(**inputs).logits
plain = run()
limit = 3
"""


class Kernel:
    """A kernel whose frontend answers requests for input, one after another."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.client: Any = manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)
        self.traceback: list[str] = []

    def start(self, cell: str, **options: Any) -> str:
        return str(self.client.execute(cell, **options))

    def asked(self) -> str:
        """Wait until a line is asked for; return the prompt."""
        message = self.client.get_stdin_msg(timeout=PATIENCE)
        assert message["msg_type"] == "input_request"
        return str(message["content"]["prompt"])

    def end(self, cell: str) -> tuple[str, str]:
        """What a cell printed and showed, and the name of its error, when it is done."""
        text = error = ""
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") != cell:
                continue
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    text += content["text"]
                case "execute_result":
                    text += content["data"]["text/plain"]
                case "error":
                    error = content["ename"]
                    self.traceback = content["traceback"]
                case "status" if content["execution_state"] == "idle":
                    return text, error

    def run(self, cell: str, *lines: str) -> tuple[str, str]:
        """Run a cell whose prompts get these lines."""
        number = self.start(cell)
        for line in lines:
            assert self.asked().startswith(PROMPT)
            self.client.input(line)
        return self.end(number)

    def greet(self, recorder: Recorder) -> LinkClient:
        keys = KeyPair.make()
        question = {"greeting": expression(keys.public, machine_identity())}
        request = self.client.execute("", silent=True, store_history=False, user_expressions=question)
        while True:
            reply = self.client.get_shell_msg(timeout=PATIENCE)
            if reply["parent_header"].get("msg_id") == request:
                break
        about = parse(reply["content"])
        client = LinkClient(Endpoint(about["address"], about["server_key"]), recorder, keys)  # type: ignore[arg-type]
        recorder.wait_for("connected")
        return client


def started(folder: Path) -> Iterator[Kernel]:
    manager = KernelManager(connection_file=str(folder / "kernel.json"))
    manager.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    manager.start_kernel()
    kernel = Kernel(manager)
    try:
        assert kernel.run(START)[1] == ""
        yield kernel
    finally:
        kernel.client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def stops(recorder: Recorder) -> list[dict[str, Any]]:
    return [call[2] for call in tuple(recorder.calls) if call[:2] == ("told", "stopped")]


def wait_for_stops(recorder: Recorder, met: Callable[[list[dict[str, Any]]], Any]) -> None:
    recorder.wait(lambda: met(stops(recorder)))
