"""From a cell in the console to what the panels draw, on a real kernel and the sample model."""

import os
import signal
from pathlib import Path

import numpy as np
from pytestqt.qtbot import QtBot

import moedesk
from moedesk.core.columns import Phase
from moedesk.core.selection import Kind, Selection
from moedesk.session.kernel import Kernel, KernelState
from moedesk.ui.window import Window
from tests.live.conftest import Run

ATTACH = """
import torch
torch.set_num_threads(1)
model, tokenizer = moe.load("sample")
moe.attach(model, tokenizer)
"""
TRUTH = """
import numpy as np
inputs = tokenizer("Once upon a time there was", return_tensors="pt")
truth = {{}}
for name, module in model.named_modules():
    if type(module).__name__ == "OlmoeTopKRouter":
        module.register_forward_hook(lambda m, a, out, name=name: truth.setdefault(name, []).append(out[-1].clone()))
with torch.inference_mode():
    model(**inputs)
np.savez({path!r}, ids=inputs["input_ids"].numpy(), **{{name: torch.cat(parts).numpy() for name, parts in truth.items()}})
"""


def test_the_window_shows_what_the_models_router_said(window: Window, run: Run, qtbot: QtBot, tmp_path: Path) -> None:
    run(ATTACH)
    session = window.files.current
    assert session is not None
    assert session.live is not None
    qtbot.waitUntil(lambda: session.live.attached and bool(session.store.model.modules))
    assert session.label.startswith("●")
    path = tmp_path / "truth.npz"
    run(TRUTH.format(path=str(path)))
    qtbot.waitUntil(lambda: session.store.n_passes == 1)
    truth = np.load(path)
    store = session.store
    assert store.read_tokens()["token_id"].tolist() == truth["ids"][0].tolist()
    assert "".join(store.token_text(truth["ids"][0])) == "Once upon a time there was"
    routers = [name for name in truth.files if name != "ids"]
    assert len(routers) == len(store.model.layers) == 6
    for layer in store.model.layers:
        chosen = truth[layer.router_path]
        np.testing.assert_array_equal(np.sort(store.experts(layer), axis=1), np.sort(chosen, axis=1))
        counts = np.bincount(chosen.ravel(), minlength=layer.experts)
        np.testing.assert_array_equal(store.counts(layer), counts)
    qtbot.waitUntil(lambda: window.settled)
    network = window.workspace.docks["network"].current.view
    picture = network.overview.heatmap.picture
    assert picture is not None, "the heat map is drawn"
    layer = store.model.layers[2]
    expert = int(np.argmax(store.counts(layer)))
    share = store.counts(layer)[expert] * layer.experts / store.counts(layer).sum()
    np.testing.assert_allclose(picture.ratios[picture.row_of(2, expert), 0], share, rtol=1e-6)


def test_generated_passes_follow_and_are_saved(window: Window, run: Run, qtbot: QtBot, tmp_path: Path) -> None:
    run(ATTACH + 'result = moe.run("Once upon a time", max_new_tokens=12)')
    session = window.files.current
    assert session is not None
    qtbot.waitUntil(lambda: session.store.n_passes == 12)
    phases = session.store.read_passes()["phase"].tolist()
    assert phases == [Phase.PREFILL] + [Phase.DECODE] * 11
    assert session.unsaved.passes == 12
    assert window.windowTitle().endswith("* – moedesk")
    target = tmp_path / "kept.h5"
    window.saving.save_to(session, target)
    qtbot.waitUntil(lambda: not window.saving.busy and session.unsaved.passes == 0)
    with moedesk.open(target) as capture:
        assert capture.n_passes == 12
        for layer in capture.model.layers:
            np.testing.assert_array_equal(capture.experts(layer), session.store.experts(layer))
            np.testing.assert_array_equal(capture.weights(layer), session.store.weights(layer))
    run('moe.run("There", max_new_tokens=2)')
    qtbot.waitUntil(lambda: session.unsaved.passes == 2)


def test_what_is_selected_is_in_the_console_and_back(window: Window, run: Run, qtbot: QtBot) -> None:
    run(ATTACH + 'moe.run("Once upon a time", max_new_tokens=3)')
    session = window.files.current
    assert session is not None
    qtbot.waitUntil(lambda: session.store.n_passes == 3)
    session.select(Selection(Kind.EXPERT, layer=2, expert=5))
    qtbot.waitUntil(lambda: run("print(len(sel))").output.strip() == "1")
    said = run("print($0.layer, $0.expert, $0.path, int($0.counts.sum()))").output.split()
    assert said == ["2", "5", session.store.model.layers[2].path, str(session.store.counts(2).sum())]
    run('inspect("4.11")')
    qtbot.waitUntil(lambda: (session.selection.layer, session.selection.expert) == (4, 11))
    assert session.selection.kind is Kind.EXPERT


def test_clear_begins_anew_and_can_be_undone(window: Window, run: Run, qtbot: QtBot) -> None:
    run(ATTACH + 'moe.run("Once upon a time", max_new_tokens=3)')
    old = window.files.current
    assert old is not None
    qtbot.waitUntil(lambda: old.store.n_passes == 3)
    window.commands.run("live.clear")
    qtbot.waitUntil(lambda: window.files.current is not old)
    new = window.files.current
    assert new is not None
    assert new.store.n_passes == 0
    run('moe.run("There was", max_new_tokens=2)')
    qtbot.waitUntil(lambda: new.store.n_passes == 2)
    assert "".join(new.store.token_text(new.store.read_tokens()["token_id"])).startswith("There was")
    window.closed.undo()
    qtbot.waitUntil(lambda: len(window.files.sessions) == 2)
    assert window.files.current.store.n_passes == 3
    assert window.files.current.unsaved.passes == 3


def test_recording_and_pausing(window: Window, run: Run, qtbot: QtBot) -> None:
    run(ATTACH + 'moe.run("Once", max_new_tokens=2)')
    session = window.files.current
    assert session is not None
    assert session.live is not None
    qtbot.waitUntil(lambda: session.store.n_passes == 2)
    window.commands.run("live.paused")
    run('moe.run("Once", max_new_tokens=3)')
    qtbot.waitUntil(lambda: session.live.waiting == 3)
    assert session.store.n_passes == 2, "the display stands still"
    window.commands.run("live.paused")
    qtbot.waitUntil(lambda: session.store.n_passes == 5)
    window.commands.run("live.recording")
    qtbot.waitUntil(lambda: "recording=False" in run("print('recording=%s' % moe.attachment.recording)").output)
    run('moe.run("Once", max_new_tokens=3)')
    window.commands.run("live.recording")
    qtbot.waitUntil(lambda: "recording=True" in run("print('recording=%s' % moe.attachment.recording)").output)
    run('moe.run("Once", max_new_tokens=1)')
    qtbot.waitUntil(lambda: session.store.n_passes >= 6)
    assert session.store.n_passes == 6, "what ran meanwhile was not taken"


def test_a_killed_kernel_leaves_everything_that_came(window: Window, kernel: Kernel, run: Run, qtbot: QtBot) -> None:
    run(ATTACH)
    session = window.files.current
    assert session is not None
    cell = run('while True: moe.run("Once upon a time", max_new_tokens=16)', wait=False)
    qtbot.waitUntil(lambda: session.store.n_passes > 20)
    os.kill(kernel.about["pid"], signal.SIGKILL)
    qtbot.waitUntil(lambda: kernel.state is KernelState.ENDED and bool(session.live.ended))
    qtbot.waitUntil(lambda: session.live.waiting == 0)
    assert "SIGKILL" in kernel.said
    store = session.store
    rows = store.read_tokens()
    assert len(rows) == store.n_tokens()
    for layer in store.model.layers:
        ids = store.experts(layer)
        np.testing.assert_array_equal(np.bincount(ids[ids >= 0], minlength=layer.experts), store.counts(layer))
    cell.abandon()
