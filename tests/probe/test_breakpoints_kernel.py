"""Breakpoints in a kernel of its own process: the prompt, orders over the link, interrupts, a kernel that is killed."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from moedesk.link.client import LinkClient
from tests.support.kernels import wait_for_end
from tests.support.link import Recorder
from tests.support.prompting import Kernel, started, stops, wait_for_stops
from tests.support.until import until


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel with the sample model, for the tests that leave it alive."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        yield from started(tmp_path_factory.mktemp("kernel"))


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
    until(lambda: kernel.run("moe.clients")[0] == "0")


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


TWO = """\
import copy
other = copy.deepcopy(model)
def run_other():
    with torch.no_grad():
        return other(**inputs).logits
hooked = moedesk.attach(other, tokenizer)
run_other()
moe.attachment.stream, hooked.stream
"""


def test_two_models_of_one_kernel_stop_and_are_overridden_each_for_itself(
    kernel: Kernel, app: tuple[Recorder, LinkClient]
) -> None:
    recorder, client = app

    def latest(topic: str, stream: int) -> dict[str, Any]:
        told = [
            call[2] for call in tuple(recorder.calls) if call[0] == "told" and (call[1], call[3]) == (topic, stream)
        ]
        return told[-1] if told else {}

    def order(topic: str, stream: int, **value: Any) -> None:
        client.request("order", {"topic": topic, "value": {**value, "stream": stream}})

    def entries(topic: str, stream: int) -> list[dict[str, Any]]:
        return latest(topic, stream).get("entries", [])  # type: ignore[no-any-return]

    def hits(stream: int) -> list[int]:
        return [entry["hits"] for entry in entries("breakpoints", stream)]

    text, error = kernel.run(TWO)
    assert error == ""
    one, two = map(int, text.strip("()\n").split(", "))
    order("breakpoints", one, do="add", text="layer:1 position:2")
    order("breakpoints", two, do="add", text="layer:1 position:3")
    order("overrides", two, do="add", override={"kind": "ablate", "layers": [0], "experts": [1]})
    recorder.wait(lambda: entries("breakpoints", one) and entries("breakpoints", two) and entries("overrides", two))
    assert [entry["text"] for entry in entries("breakpoints", one)] == ["layer:1 position:2"]
    assert [entry["text"] for entry in entries("breakpoints", two)] == ["layer:1 position:3"]
    assert not entries("overrides", one)
    # Both run, each stands in its own session alone, and is let go by an order of that session alone.
    for function, stands, runs, position in (("run", one, two, 2), ("run_other", two, one, 3)):
        cell = kernel.start(f"bool(torch.equal({function}(), plain))", allow_stdin=False)
        recorder.wait(lambda stream=stands: latest("stopped", stream))
        assert latest("stopped", stands)["token"]["position"] == position
        assert not latest("stopped", runs)
        order("stopped", runs, do="resume")
        order("stopped", stands, do="step_layer")
        recorder.wait(lambda stream=stands: latest("stopped", stream).get("layer") == 2)
        order("stopped", stands, do="resume")
        text, error = kernel.end(cell)
        assert (text.splitlines()[-1], error) == (str(function == "run"), ""), "only the other model is overridden"
    recorder.wait(lambda: hits(one) == hits(two) == [1])
    # At a stop of one model the other runs through.
    kernel.run("run()", "bool(torch.equal(run_other(), plain))", "c")
    text, _ = kernel.run("run_other()", "$0.module is other.model.layers[1].mlp", "c")
    assert "True" in text.splitlines(), "and not moe's"
    recorder.wait(lambda: hits(two) == [2])
    # What moe attaches brings its own breakpoints along, and those of moe's list break in it too.
    kernel.run("hooked = moe.attachment; moe.attach(other, tokenizer); run_other()", "c")
    text, _ = kernel.run("[point.breakpoint.text for point in moe.breakpoints], moe.attachment.stream")
    assert text.startswith("(['layer:1 position:2', 'layer:1 position:3'], ")
    three = int(text.rpartition(" ")[2].strip(")"))
    recorder.wait(lambda: hits(three) == [3, 3] and len(entries("overrides", three)) == 1)
    assert (
        kernel.run("moe.overrides.clear(); moe.attach(model, tokenizer); bool(torch.equal(run(), plain))", "c")[1] == ""
    )


def test_of_two_apps_either_sees_it_one_may_go_and_the_breakpoint_may_be_removed_meanwhile(
    kernel: Kernel, app: tuple[Recorder, LinkClient]
) -> None:
    recorder, client = app
    leaving = Recorder()
    other = kernel.greet(leaving)
    text, _ = kernel.run('point = moe.break_on("layer:1 position:2"); point.id')
    cell = kernel.start("bool(torch.equal(run(), plain))", allow_stdin=False)
    for each in (recorder, leaving):
        wait_for_stops(each, lambda seen: seen and seen[-1])
    other.close()
    client.request("order", {"topic": "breakpoints", "value": {"do": "remove", "id": int(text)}})
    recorder.wait(
        lambda: [call for call in recorder.calls if call[:2] == ("told", "breakpoints")][-1][2]["entries"] == []
    )
    client.request("evaluate", {"request": 1, "text": "(layer, moe.clients)"})
    recorder.wait_for("answered")
    assert next(call for call in recorder.calls if call[0] == "answered")[2] == "(1, 1)", "it still stands"
    client.request("order", {"topic": "stopped", "value": {"do": "resume"}})
    text, error = kernel.end(cell)
    assert (text.splitlines()[-1], error) == ("True", "")
    assert kernel.run("bool(torch.equal(run(), plain))")[0] == "True"


def test_detaching_at_the_prompt_lets_the_model_go_on_as_it_was(kernel: Kernel) -> None:
    hooks = "sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())"
    kernel.run('moe.break_on("layer:1 position:2")')
    text, error = kernel.run("bool(torch.equal(run(), plain))", "moe.detach()")
    assert (text.splitlines()[-1], error) == ("True", "")
    assert kernel.run(hooks)[0] == "0"
    kernel.run("moe.attach(model, tokenizer)")
    assert kernel.run("bool(torch.equal(run(), plain))", "c")[0].splitlines()[-1] == "True"


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
