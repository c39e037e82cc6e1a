"""A token of a running model, explained in the window: from a click to the kernel and back, and into the saved capture."""

from pathlib import Path

import numpy as np
from pytestqt.qtbot import QtBot

import moedesk
from moedesk.core.attribution import Attribution, Counterfactual, Why
from moedesk.core.selection import Kind, Selection
from moedesk.panels.network.view import NetworkPanel
from moedesk.ui.window import Window
from tests.live.conftest import Run

RUN = """
import torch
torch.set_num_threads(1)
model, tokenizer = moe.load("sample")
moe.attach()
result = moe.run("Once upon a time there was", max_new_tokens=3)
"""
TRUTH = """
import numpy as np
seen = []
handle = model.model.layers[2].mlp.gate.register_forward_hook(lambda m, given, out: seen.append((given[0], m.weight)))
with torch.no_grad():
    model(torch.tensor([{ids}]))
handle.remove()
(given, weight), = seen
np.save({path!r}, (given.detach().reshape(-1, given.shape[-1]) @ weight.detach().T)[-1].numpy())
"""


def test_why_a_token_went_to_its_experts(window: Window, run: Run, qtbot: QtBot, tmp_path: Path) -> None:
    run(RUN)
    session = window.files.current
    assert session is not None
    qtbot.waitUntil(lambda: session.store.n_passes == 3 and session.store.n_tokens() > 5)
    qtbot.waitUntil(lambda: window.settled)
    panel = window.workspace.docks["network"].current.view
    assert isinstance(panel, NetworkPanel)
    row = session.store.n_tokens() - 2  # decoded, with a next token
    token = session.store.read_tokens(row, row + 1)[0]
    panel.explain(Why, Selection(Kind.TOKEN, pass_id=int(token["pass"]), layer=2, token=row))
    explain = panel.details.explain
    qtbot.waitUntil(lambda: explain.why.shown is not None or bool(session.explaining.problem))
    assert session.explaining.problem == ""
    why = explain.why.shown
    assert why is not None
    assert explain.why.isVisible()
    assert set(why.chosen.tolist()) == set(session.store.experts(2, row, row + 1)[0].tolist())
    np.testing.assert_allclose(why.margin, session.store.margin(2, row, row + 1)[0], rtol=1e-3)
    ids = session.store.read_tokens(0, row + 1)["token_id"].tolist()
    path = tmp_path / "truth.npy"
    run(TRUTH.format(ids=ids, path=str(path)))
    np.testing.assert_allclose(why.logits, np.load(path), atol=1e-4)
    assert why.complete
    np.testing.assert_allclose(why.contributions.sum(0), why.explained, atol=1e-3)
    panel.explain(Attribution, Selection(Kind.TOKEN, pass_id=int(token["pass"]), layer=2, token=row))
    qtbot.waitUntil(lambda: explain.attribution.shown is not None or bool(session.explaining.problem))
    assert session.explaining.problem == ""
    effects = explain.attribution.shown
    assert effects is not None
    assert effects.complete
    assert effects.target_id == session.store.read_tokens(row + 1, row + 2)[0]["token_id"]
    for place in range(6):
        mine = session.store.experts(place, row, row + 1)[0].tolist()
        assert set(effects.experts[place].tolist()) == set(mine)
    panel.explain(Counterfactual, Selection(Kind.TOKEN, pass_id=int(token["pass"]), layer=2, token=row))
    qtbot.waitUntil(lambda: explain.routes.shown is not None or bool(session.explaining.problem))
    assert session.explaining.problem == ""
    routes = explain.routes.shown
    assert routes is not None
    assert routes.tried_layers.tolist() == list(range(6))
    np.testing.assert_allclose(-routes.loss, effects.value, atol=1e-4)  # the log-probability of the same token
    target = tmp_path / "kept.h5"
    qtbot.waitUntil(lambda: session.idle)
    window.saving.save_to(session, target)
    qtbot.waitUntil(lambda: not window.saving.busy)
    with moedesk.open(target) as capture:
        stored, also, _ = capture.attributions
        assert isinstance(also, Attribution)
        assert also.explained == effects.explained
        assert isinstance(stored, Why)
        assert stored.token.row == row
        np.testing.assert_array_equal(stored.logits, why.logits)


def test_what_the_console_explains_is_kept_with_the_session(window: Window, run: Run, qtbot: QtBot) -> None:
    run(RUN)
    session = window.files.current
    assert session is not None
    qtbot.waitUntil(lambda: session.store.n_passes == 3)
    cell = run('found = moe.why("Once upon", layer=2); moe.attribute("Once", layer=[1]); print("margin", found.margin)')
    qtbot.waitUntil(lambda: len(session.store.attributions) == 2)
    why, effects = session.store.attributions
    assert isinstance(why, Why)
    assert isinstance(effects, Attribution)
    assert (why.layer, why.token.row) == (2, -1)  # a text of one's own is no token of the capture
    assert f"margin {why.margin}" in cell.output
    assert why.complete
