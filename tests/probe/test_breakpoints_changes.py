"""What a stop can change: the experts and weights of a token, against the same change made by a hook; names that a stop has."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import moedesk
from moedesk.core.columns import RouteFlag
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.overriding.registry import overrides_of
from tests.support.stopping import TEXTS, PlayedApp, attached_to, batch_of, found_in

pytestmark = pytest.mark.usefixtures("no_hook_stays")


CHANGES = {
    "in place": "weights[0] = 0",
    "a new value": "weights = [0.0, float(weights[1])]",
    "all tokens'": "all_weights[row, 0] = 0",
}


@pytest.mark.parametrize("code", CHANGES.values(), ids=CHANGES)
def test_a_weight_that_is_changed_is_what_the_experts_get(code: str, sample: Any) -> None:
    model, tokenizer = sample
    app, inputs = PlayedApp(), batch_of(tokenizer)
    app.at_stop = lambda breakpoints, stop: exec(code, app.namespace)
    with torch.no_grad(), attached_to(app, model, tokenizer) as (_, gathered):
        plain = model(**inputs).logits
        app.break_on("layer:3 position:2 sequence:2")
        changed = model(**inputs).logits
        app.breakpoints.clear()
        experts = model.model.layers[3].mlp.experts
        row = app.stops[0]["token"]["row"]

        def by_hand(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            hidden, ids, weights = args
            weights = weights.clone()
            weights[row, 0] = 0
            return hidden, ids, weights

        handle = experts.register_forward_pre_hook(by_hand)
        expected = model(**inputs).logits
        handle.remove()
    assert len(app.stops) == 1
    assert torch.equal(changed, expected)
    assert not torch.equal(changed, plain)
    assert gathered.routes(3, 1).weights[row, 0] == 0, "the capture has what was used"
    flags = gathered.routes(3, 1).filled().flags
    assert np.flatnonzero(flags).tolist() == [row], "and says that it is none of the router's"
    assert flags[row] == RouteFlag.OVERRIDDEN


def test_an_expert_that_is_changed_is_the_one_that_runs(sample: Any) -> None:
    model, tokenizer = sample
    app, inputs = PlayedApp(), batch_of(tokenizer, TEXTS[:1])
    app.at_stop = lambda breakpoints, stop: exec("ids[0] = 15 if 15 not in ids else 14", app.namespace)
    with torch.no_grad(), attached_to(app, model, tokenizer) as (_, gathered):
        model(**inputs)
        app.break_on("layer:5 position:1")
        changed = model(**inputs).logits
    before = gathered.routes(5, 0).experts[1].tolist()
    expected = 15 if 15 not in before else 14
    assert gathered.routes(5, 1).experts[1].tolist() == [expected, before[1]]
    others = np.arange(len(gathered.routes(5, 0).experts)) != 1
    np.testing.assert_array_equal(gathered.routes(5, 1).experts[others], gathered.routes(5, 0).experts[others])
    assert changed.isfinite().all()


def test_it_sees_what_overrides_made_and_its_own_change_comes_on_top(sample: Any, tmp_path: Path) -> None:
    model, tokenizer = sample
    app, path, inputs = PlayedApp(), tmp_path / "run.h5", batch_of(tokenizer)
    overrides = overrides_of(model)
    with torch.no_grad(), attached_to(app, model, tokenizer, path):
        model(**inputs)
        app.break_on("is:overridden layer:2..4")
        app.break_on("layer:1 is:dropped")
        overrides.add(Override(OverrideKind.ABLATE, layers=(2,), experts=(3,)))
        overrides.add(Override(OverrideKind.EXCLUDE, layers=(4,), experts=(1,)))
        overrides.add(Override(OverrideKind.CAPACITY, layers=(1,), value=1.0))
        app.orders = ["step_token"] * 1000
        model(**inputs)
        stops, app.stops = app.stops, []
        app.at_stop = lambda breakpoints, stop: exec("weights *= 2", app.namespace)
        app.breakpoints.clear()
        app.break_on("layer:2 is:overridden")
        model(**inputs)
        overrides.close()
    found = found_in(path, "is:overridden layer:2") | found_in(path, "is:overridden layer:4")
    lost = found_in(path, "layer:1 is:dropped")
    seen = {(stop["pass"], stop["layer"], stop["token"]["row"]) for stop in stops}
    assert {place for place in found if place[0] == 1} | {place for place in lost if place[0] == 1} == seen
    for stop in stops:
        if stop["layer"] == 2:
            assert stop["weights"][stop["ids"].index(3)] == 0
        assert stop["layer"] != 1 or -1 in stop["ids"]
    store = moedesk.open(path)
    row = app.stops[0]["token"]["row"]
    at = store.token_span(2, 3)[0] + row
    np.testing.assert_allclose(store.weights(2, at, at + 1)[0], np.multiply(app.stops[0]["weights"], 2))
    assert {place[2] for place in found if place[:2] == (2, 2)} == {place[2] for place in found if place[:2] == (1, 2)}
    assert {place[2] for place in lost if place[0] == 2} == {place[2] for place in lost if place[0] == 1}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("ids[0] = 16", "no experts of layer 3"),
        ("ids = [1.5, 2]", "whole numbers"),
        ("weights = [1.0]", "shape (1,), not (2,)"),
        ("weights = 'much'", "no row of 2 numbers"),
        ("del weights", "NoneType"),
    ],
)
def test_what_the_experts_cannot_get_changes_nothing(code: str, says: str, sample: Any, capsys: Any) -> None:
    model, tokenizer = sample
    app, inputs = PlayedApp(), batch_of(tokenizer, TEXTS[:1])
    app.at_stop = lambda breakpoints, stop: exec(code, app.namespace)
    with torch.no_grad(), attached_to(app, model, tokenizer):
        plain = model(**inputs).logits
        app.break_on("layer:3 position:1")
        assert torch.equal(model(**inputs).logits, plain)
    assert says in capsys.readouterr().out


def test_names_of_the_stop_are_there_while_it_lasts_and_hide_nothing_afterwards(sample: Any) -> None:
    model, tokenizer = sample
    app = PlayedApp({"token": "mine", "limit": 3})
    seen: dict[str, Any] = {}
    with torch.no_grad(), attached_to(app, model, tokenizer) as (_, gathered):
        app.at_stop = lambda breakpoints, stop: seen.update(app.namespace)
        model(**batch_of(tokenizer, TEXTS[:1]))
        app.break_on("layer:2 position:3")
        model(**batch_of(tokenizer, TEXTS[:1]))
    assert app.namespace == {"token": "mine", "limit": 3}
    assert (seen["layer"], seen["position"], seen["limit"]) == (2, 3, 3)
    assert seen["token"] == app.stops[0]["token"]["text"]
    assert seen["hidden"].shape == (128,)
    np.testing.assert_array_equal(seen["ids"], gathered.routes(2, 1).experts[3])
    np.testing.assert_array_equal(seen["weights"], gathered.routes(2, 1).weights[3])
    assert seen["logits"].topk(2).indices.tolist() == seen["ids"].tolist()
