"""Breakpoints in a kernel of its own process: the prompt, orders over the link, interrupts, a kernel that is killed."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from moedesk.link.client import LinkClient
from moedesk.link.endpoint import Endpoint
from moedesk.link.greeting import expression, parse
from moedesk.link.keys import KeyPair
from moedesk.link.machine import machine_identity
from tests.support.kernels import wait_for, wait_for_end
from tests.support.link import Recorder

WAIT = 60
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
        self.client.wait_for_ready(timeout=WAIT)
        self.traceback: list[str] = []

    def start(self, cell: str, **options: Any) -> str:
        return str(self.client.execute(cell, **options))

    def asked(self) -> str:
        """Wait until a line is asked for; return the prompt."""
        message = self.client.get_stdin_msg(timeout=WAIT)
        assert message["msg_type"] == "input_request"
        return str(message["content"]["prompt"])

    def end(self, cell: str) -> tuple[str, str]:
        """What a cell printed and showed, and the name of its error, when it is done."""
        text = error = ""
        while True:
            message = self.client.get_iopub_msg(timeout=WAIT)
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
            reply = self.client.get_shell_msg(timeout=WAIT)
            if reply["parent_header"].get("msg_id") == request:
                break
        about = parse(reply["content"])
        client = LinkClient(Endpoint(about["address"], about["server_key"]), recorder, keys)  # type: ignore[arg-type]
        recorder.wait_for("connected")
        return client


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel with the sample model, for the tests that leave it alive."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        yield from started(tmp_path_factory.mktemp("kernel"))


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


@pytest.fixture
def kernel(shared: Kernel) -> Iterator[Kernel]:
    yield shared
    while shared.client.stdin_channel.msg_ready():  # requests that an order from the app came before
        shared.client.stdin_channel.get_msg()
    assert shared.run("moe.breakpoints.clear(); len(moe.breakpoints)") == ("0", "")


@pytest.fixture
def app(kernel: Kernel) -> Iterator[tuple[Recorder, LinkClient]]:
    recorder = Recorder()
    client = kernel.greet(recorder)
    yield recorder, client
    client.close()
    wait_for(lambda: kernel.run("moe.clients")[0] == "0")


def stops(recorder: Recorder) -> list[dict[str, Any]]:
    return [call[2] for call in tuple(recorder.calls) if call[:2] == ("told", "stopped")]


def wait_for_stops(recorder: Recorder, met: Callable[[list[dict[str, Any]]], Any]) -> None:
    recorder.wait(lambda: met(stops(recorder)))


def test_lines_typed_at_the_prompt(kernel: Kernel) -> None:
    text, error = kernel.run(
        'point = moe.break_on("layer:1 position:2")\nbool(torch.equal(run(), plain))',
        "(layer, position, token, limit)",
        "[expert for expert in ids.tolist() if expert == ids[0]] == [expert_of.tolist() for expert_of in ids[:1]]",
        "$0",
        "mine = weights.sum()",
        "1 / 0",
        "$0.layer, $0.expert == expert, sel[0].module is model.model.layers[1].mlp",
        "w",
        "help",
        "",
        "raise SystemExit",
        "nothing",
        "c",
    )
    assert error == ""
    assert "(1, 2, '(', 3)" in text
    assert "stop at 1." in text
    assert "ZeroDivisionError: division by zero" in text
    assert "SystemExit" in text
    assert "NameError: name 'nothing' is not defined" in text
    assert "(1, True, True)" in text
    assert "F10" in text
    assert text.count("stopped at 1.") == 2, "when it stopped, and for w"
    assert text.endswith("True"), "bit-identical"
    assert kernel.run("0 < mine < 1, 'token' in globals(), 'weights' in globals(), point.hits")[0].startswith(
        "(tensor(True), False, False, 1)"
    )


def test_what_is_changed_at_the_prompt_and_steps(kernel: Kernel) -> None:
    kernel.run('moe.break_on("layer:1 position:2")')
    text, error = kernel.run("bool(torch.equal(run(), plain))", "weights[0] = 0", "c")
    assert (text.splitlines()[-1], error) == ("False", "")
    cell = kernel.start("bool(torch.equal(run(), plain))")
    for command, place in (("s", "1."), ("s", "2."), ("n", "3."), ("c", "")):
        if place:
            assert kernel.asked().startswith(f"stopped at {place}")
            kernel.client.input(command)
    text, error = kernel.end(cell)
    assert (text.splitlines()[-1], error) == ("True", "")


def test_quit_and_an_interrupt_end_the_cell_and_leave_the_hooks_intact(kernel: Kernel) -> None:
    kernel.run('moe.break_on("layer:1 position:2")')
    assert kernel.run("run()", "q")[1] == "KeyboardInterrupt"
    (line,) = kernel.traceback
    assert line.startswith("KeyboardInterrupt: left the pass at 1.")
    cell = kernel.start("run()")
    kernel.asked()
    kernel.manager.interrupt_kernel()
    assert kernel.end(cell)[1] == "KeyboardInterrupt"
    text, error = kernel.run("bool(torch.equal(run(), plain))", "c")
    assert (text.splitlines()[-1], error) == ("True", "")


def test_an_app_sees_it_and_lets_it_go_on(kernel: Kernel, app: tuple[Recorder, LinkClient]) -> None:
    recorder, client = app
    client.request("order", {"topic": "breakpoints", "value": {"do": "add", "text": "layer:1 position:2..3"}})
    recorder.wait(lambda: any(call[:2] == ("told", "breakpoints") and call[2]["entries"] for call in recorder.calls))
    cell = kernel.start("bool(torch.equal(run(), plain))")
    kernel.asked()
    wait_for_stops(recorder, lambda seen: seen and seen[-1])
    stop = stops(recorder)[-1]
    assert (stop["layer"], stop["token"]["position"], stop["matching"]) == (1, 2, 2)
    client.request("evaluate", {"request": 1, "text": "(layer, position, $0.layer)"})  # on a thread of its own
    assert recorder.wait_for("answered")[-1] is True
    assert next(call for call in recorder.calls if call[0] == "answered")[2] == "(1, 2, 1)"
    client.request("order", {"topic": "stopped", "value": {"do": "step_token"}})
    wait_for_stops(recorder, lambda seen: seen[-1] and seen[-1]["token"]["position"] == 3)
    client.request("order", {"topic": "stopped", "value": {"do": "step_layer"}})
    wait_for_stops(recorder, lambda seen: seen[-1] and seen[-1]["layer"] == 2)
    client.request("order", {"topic": "stopped", "value": {"do": "resume"}})
    text, error = kernel.end(cell)
    assert (text.splitlines()[-1], error) == ("True", "")
    assert stops(recorder)[-1] == {}
    assert kernel.run("moe.breakpoints")[0].endswith("2 hits")


def test_a_cell_that_takes_no_input_waits_for_the_app(kernel: Kernel, app: tuple[Recorder, LinkClient]) -> None:
    recorder, client = app
    kernel.run('moe.break_on("layer:1 position:2")')
    cell = kernel.start("bool(torch.equal(run(), plain))", allow_stdin=False)
    wait_for_stops(recorder, lambda seen: seen and seen[-1])
    client.request("order", {"topic": "stopped", "value": {"do": "resume"}})
    assert kernel.end(cell)[0].splitlines()[-1] == "True"


def test_a_model_that_runs_in_another_thread_waits_for_the_app(
    kernel: Kernel, app: tuple[Recorder, LinkClient]
) -> None:
    recorder, client = app
    kernel.run('moe.break_on("layer:1 position:2")')
    cell = kernel.start("import threading; thread = threading.Thread(target=run); thread.start(); thread.join()")
    wait_for_stops(recorder, lambda seen: seen and seen[-1])
    client.request("order", {"topic": "stopped", "value": {"do": "resume"}})
    assert kernel.end(cell)[1] == ""


def test_an_app_that_goes_away_lets_the_model_go_on(kernel: Kernel) -> None:
    recorder = Recorder()
    client = kernel.greet(recorder)
    kernel.run('moe.break_on("layer:1 position:2")')
    cell = kernel.start("bool(torch.equal(run(), plain))")
    kernel.asked()
    wait_for_stops(recorder, lambda seen: seen and seen[-1])
    client.close()
    text, error = kernel.end(cell)
    assert "no app is connected any more" in text
    assert (text.splitlines()[-1], error) == ("True", "")


def test_the_time_of_a_stop_is_no_time_of_a_pass(kernel: Kernel) -> None:
    kernel.run('moe.break_on("layer:1 position:2"); import time; before = moe.attachment.counters')
    kernel.run("run()", "time.sleep(1)", "c")
    text, _ = kernel.run(
        "after = moe.attachment.counters; after.pass_ns - before.pass_ns < 9e8, after.passes - before.passes"
    )
    assert text == "(True, 1)"


def test_a_kernel_that_is_killed_while_it_is_stopped_is_gone(shared: Kernel) -> None:
    """The last test of the shared kernel."""
    recorder = Recorder()
    client = shared.greet(recorder)
    shared.run('moe.break_on("layer:1 position:2")')
    shared.start("run()")
    shared.asked()
    wait_for_stops(recorder, lambda seen: seen and seen[-1])
    pid = shared.manager.provisioner.pid
    shared.manager.signal_kernel(signal.SIGTERM)
    assert wait_for_end(pid), "the process hangs"
    recorder.wait_for("lost")
    client.close()
