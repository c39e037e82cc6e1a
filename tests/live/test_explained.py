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


TWO_SIDES = """
import torch
from transformers import SwitchTransformersConfig, SwitchTransformersForConditionalGeneration
torch.set_num_threads(1)
torch.manual_seed(0)
config = SwitchTransformersConfig(
    vocab_size=50, d_model=16, d_kv=8, d_ff=24, num_heads=2, num_layers=2, num_decoder_layers=2, num_sparse_encoder_layers=2,
    num_sparse_decoder_layers=2, num_experts=4, expert_capacity=8, decoder_start_token_id=0,
)
two_sided = SwitchTransformersForConditionalGeneration(config).eval()
moe.attach(two_sided)
source = torch.tensor([[5, 17, 29, 8, 33]])
with torch.no_grad():
    written = two_sided.generate(source, max_new_tokens=4, min_new_tokens=4, do_sample=False)
"""
BY_HAND = """
import numpy as np
source, written = source[0].tolist(), written[0].tolist()
of_encoder, of_decoder = moe.why(source, layer=1, index=2), moe.why(source, layer=3, decoder=written, index=2)
effects = moe.attribute(source, decoder=written, index=2, method="direct")
np.savez({path!r}, of_encoder=of_encoder.logits, of_decoder=of_decoder.logits, direct=effects.direct, next_id=written[3])
clicked = moe.attribute($0, method="direct")
print("clicked", np.array_equal(clicked.direct, effects.direct))
"""


def test_both_sides_of_an_encoder_decoder_model(window: Window, run: Run, qtbot: QtBot, tmp_path: Path) -> None:
    run(TWO_SIDES)
    session = window.files.current
    assert session is not None
    qtbot.waitUntil(lambda: session.store.n_passes == 5 and session.store.n_tokens("decoder") == 4)
    qtbot.waitUntil(lambda: window.settled)
    panel = window.workspace.docks["network"].current.view
    assert isinstance(panel, NetworkPanel)
    explain = panel.details.explain
    found = {}
    clicks = {
        "of_encoder": Selection(Kind.TOKEN, pass_id=0, layer=1, token=2, stream="encoder"),
        "of_decoder": Selection(Kind.TOKEN, pass_id=3, layer=3, token=2),
    }
    for name, click in clicks.items():
        before = explain.why.shown
        panel.explain(Why, click)
        qtbot.waitUntil(
            lambda before=before: explain.why.shown not in (None, before) or bool(session.explaining.problem)
        )
        assert session.explaining.problem == ""
        found[name] = explain.why.shown
    panel.explain(Attribution, clicks["of_decoder"])
    qtbot.waitUntil(lambda: explain.attribution.shown is not None or bool(session.explaining.problem))
    assert session.explaining.problem == ""
    effects = explain.attribution.shown
    path = tmp_path / "truth.npz"
    qtbot.waitUntil(lambda: window.settled)
    cell = run(BY_HAND.format(path=str(path)))
    assert "clicked True" in cell.output
    with np.load(path) as truth:
        for name, why in found.items():
            assert why is not None
            assert why.complete
            np.testing.assert_array_equal(why.logits, truth[name])
        assert effects is not None
        np.testing.assert_array_equal(effects.direct, truth["direct"])
        assert effects.target_id == truth["next_id"]
    panel.explain(Attribution, clicks["of_encoder"])
    qtbot.waitUntil(lambda: "has no next token" in session.explaining.problem)
    tokens = panel.details.tokens
    panel.details.setCurrentWidget(tokens)
    qtbot.waitUntil(lambda: tokens.text.page is not None and tokens.text.page.tokens.layer.stream == "encoder")
    assert tokens.text.selected == 2
    session.select(Selection(Kind.LAYER, layer=3))
    qtbot.waitUntil(lambda: tokens.text.page is not None and tokens.text.page.tokens.layer.stream == "decoder")
    assert tokens.text.selected is None, "row 2 of the decoder is another token"
