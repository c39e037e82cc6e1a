"""Breakpoints: where they stop, against what the same filter finds in a capture of the same run; what a stop can change."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import moedesk
from moedesk.analysis.search import matching_tokens
from moedesk.core.columns import RouteFlag
from moedesk.core.errors import MoedeskError
from moedesk.core.filter import parse
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.attach import attached
from moedesk.probe.overriding.registry import overrides_of
from tests.support.families import build, some_ids
from tests.support.stopping import PlayedApp, attached_to, hooks_on

TEXTS = ["def add(a, b):\n    return", "Berlin is the capital of"]


@pytest.fixture(autouse=True)
def nothing_is_left(sample: Any) -> Iterator[None]:
    before = hooks_on(sample[0])
    yield
    for attachment in attached():
        attachment.detach()
    assert hooks_on(sample[0]) == before


def batch_of(tokenizer: Any, texts: list[str] = TEXTS) -> dict[str, Tensor]:
    return dict(tokenizer(texts, return_tensors="pt", padding=True, padding_side="left"))


def found_in(path: Path, text: str, since: int = 1) -> set[tuple[int, int, int]]:
    """Pass, layer and row in its pass of each event that a filter finds in a capture."""
    store, events = moedesk.open(path), set()
    for layer in store.model.layers:
        tokens = store.read_tokens(stream=layer.stream)
        for row in np.flatnonzero(matching_tokens(store, parse(text), layer, 0, len(tokens)).rows).tolist():
            number = int(tokens["pass"][row])
            if number >= since:
                events.add((number, layer.place, row - store.token_span(number, number + 1, layer.stream)[0]))
    return events


FILTERS = [
    "layer:2.. margin<0.02",
    "expert:3 weight>0.3",
    "layer:1 -expert:0..7",
    "phase:decode -expert:3",
    "layer:4 -weight>0.3 expert:0..9",
    'token:"def"',
    "token:/^ ./ layer:0",
    "phase:decode layer:5",
    "position<2 layer:3",
    "sequence:3 layer:0",
    "id:1138",
    "entropy>2.4 layer:4",
    "is:padding layer:1",
    "load>2.5 layer:3",
    "expert:2..9 load<1.5 layer:1",
    "label:two layer:2",
    "pass:2 layer:1,2",
    "layer:model.layers.3 expert:2,5",
]


def test_they_match_the_events_that_their_filters_find(sample: Any, tmp_path: Path) -> None:
    model, tokenizer = sample
    app, path, inputs = PlayedApp(), tmp_path / "run.h5", batch_of(tokenizer)
    seen: dict[str, list[tuple[int, int, int]]] = {text: [] for text in FILTERS}

    def note(text: str, layer: int, row: int) -> bool:
        seen[text].append((attachment.passes, layer, row))
        return True

    app.namespace["note"] = note
    with torch.no_grad(), attached_to(app, model, tokenizer, path) as (attachment, _):
        model(**inputs)
        placed = [app.break_on(text, condition=f"note({text!r}, layer, row)", ignore=10**6) for text in FILTERS]
        with attachment.label("two"):
            model.generate(**inputs, max_new_tokens=3, do_sample=False)
        app.breakpoints.clear()
        model(**inputs)
    assert not app.stops
    for text, point in zip(FILTERS, placed, strict=True):
        expected = {place for place in found_in(path, text) if place[0] < 4}
        assert expected, f"{text}: of no use"
        assert sorted(seen[text]) == sorted(expected), text
        assert point.hits == len(expected)


def test_the_next_token_stops_at_each_match_of_a_layer(sample: Any, tmp_path: Path) -> None:
    model, tokenizer = sample
    app, path, inputs = PlayedApp(), tmp_path / "run.h5", batch_of(tokenizer)
    with torch.no_grad(), attached_to(app, model, tokenizer, path):
        model(**inputs)
        app.orders = ["step_token"] * 1000
        app.break_on("layer:3 margin<0.05")
        model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert app.places == sorted(found_in(path, "layer:3 margin<0.05"))


def test_resume_goes_on_to_the_next_call_of_a_layer(sample: Any, tmp_path: Path) -> None:
    model, tokenizer = sample
    app, path, inputs = PlayedApp(), tmp_path / "run.h5", batch_of(tokenizer)
    with torch.no_grad(), attached_to(app, model, tokenizer, path):
        model(**inputs)
        placed = app.break_on("margin<0.03")
        model(**inputs)
    expected = found_in(path, "margin<0.03")
    assert placed.hits == len(expected), "those that are passed over count"
    firsts = {}
    for number, layer, row in sorted(expected):
        firsts.setdefault((number, layer), row)
    assert app.places == [(number, layer, row) for (number, layer), row in sorted(firsts.items())]
    assert [stop["matching"] for stop in app.stops] == [
        sum((number, layer) == place[:2] for place in expected) for number, layer in sorted(firsts)
    ]


def test_what_is_told_is_what_the_capture_has(sample: Any, tmp_path: Path) -> None:
    model, tokenizer = sample
    app, path, inputs = PlayedApp(), tmp_path / "run.h5", batch_of(tokenizer)
    with torch.no_grad(), attached_to(app, model, tokenizer, path):
        model(**inputs)
        app.break_on("layer:3 expert:0..7")
        model.generate(**inputs, max_new_tokens=3, do_sample=False)
    store = moedesk.open(path)
    assert [stop["phase"] for stop in app.stops] == ["prefill", "decode", "decode"][: len(app.stops)]
    assert app.told["stopped"] == {}
    for stop in app.stops:
        row = store.token_span(stop["pass"], stop["pass"] + 1)[0] + stop["token"]["row"]
        token = store.read_tokens(row, row + 1)[0]
        assert stop["ids"] == store.experts(3, row, row + 1)[0].tolist()
        assert stop["weights"] == store.weights(3, row, row + 1)[0].tolist()
        assert stop["margin"] == pytest.approx(float(store.margin(3, row, row + 1)[0]), abs=1e-7)
        assert (stop["token"]["sequence"], stop["token"]["position"], stop["token"]["id"]) == (
            token["sequence"],
            token["position"],
            token["token_id"],
        )
        assert stop["token"]["text"] == store.token_text([token["token_id"]])[0]
        slots = [slot for slot, expert in enumerate(stop["ids"]) if expert <= 7]
        assert stop["expert"] == max((stop["weights"][slot], stop["ids"][slot]) for slot in slots)[1]


def test_the_outputs_are_bit_identical_if_nothing_is_changed_and_the_hooks_are_gone_without_breakpoints(
    sample: Any,
) -> None:
    model, tokenizer = sample
    app, inputs = PlayedApp(), batch_of(tokenizer)
    with torch.no_grad():
        plain = model(**inputs).logits
        with attached_to(app, model, tokenizer):
            model(**inputs)
            bare = hooks_on(model)
            placed = app.break_on("layer:1.. margin<0.1")
            assert hooks_on(model) > bare
            assert torch.equal(model(**inputs).logits, plain)
            assert app.stops
            stops = len(app.stops)
            placed.on = False
            assert hooks_on(model) == bare
            placed.on = True
            app.breakpoints.active = False
            assert hooks_on(model) == bare
            model(**inputs)
            assert len(app.stops) == stops
            app.breakpoints.active = True
            with app.break_on("layer:2 margin<0"):
                assert torch.equal(model(**inputs).logits, plain)
            app.breakpoints.clear()
            assert hooks_on(model) == bare
            assert torch.equal(model(**inputs).logits, plain)


def test_the_first_pass_stops_too_after_each_block_ran(tmp_path: Path, capsys: Any) -> None:
    model: Any = build("olmoe")
    app, path, ids = PlayedApp(), tmp_path / "run.h5", some_ids()
    app.at_stop = lambda breakpoints, stop: exec("weights *= 0", app.namespace)
    with torch.no_grad():
        plain = model(ids).logits
        with attached_to(app, model, None, path):
            app.break_on("weight>0.3")
            assert torch.equal(model(ids).logits, plain)
            app.breakpoints.clear()
    expected = found_in(path, "weight>0.3", since=0)
    assert app.places == [(0, layer, min(row for _, at, row in expected if at == layer)) for layer in (0, 1)]
    assert app.stops[0]["matching"] == sum(layer == 0 for _, layer, _ in expected)
    assert "its first call is over" in capsys.readouterr().out


def test_a_model_that_runs_at_a_stop_does_not_stop_again(sample: Any) -> None:
    model, tokenizer = sample
    app, inputs = PlayedApp(), batch_of(tokenizer, TEXTS[:1])
    outputs: list[Tensor] = []
    app.at_stop = lambda breakpoints, stop: outputs.append(model(**inputs).logits)
    with torch.no_grad(), attached_to(app, model, tokenizer):
        plain = model(**inputs).logits
        app.break_on("layer:1,3 position:2")
        app.orders = ["step_layer"]
        assert torch.equal(model(**inputs).logits, plain)
    assert [stop["layer"] for stop in app.stops] == [1, 2, 3]
    assert all(torch.equal(output, plain) for output in outputs)


def test_only_layers_that_can_match_are_hooked(sample: Any) -> None:
    model, tokenizer = sample
    app = PlayedApp()
    with torch.no_grad(), attached_to(app, model, tokenizer):
        model(**batch_of(tokenizer))

        def hooks() -> list[int]:
            blocks = [layer.mlp.experts for layer in model.model.layers]
            return [len(experts._forward_pre_hooks) for experts in blocks]

        assert hooks() == [1] * 6
        app.break_on("layer:2,4 -expert:3")
        assert hooks() == [1, 1, 2, 1, 2, 1]


def test_steps_go_from_layer_to_layer_with_one_token_and_on_to_the_next_pass(sample: Any) -> None:
    model, tokenizer = sample
    app, inputs = PlayedApp(), batch_of(tokenizer, TEXTS[:1])
    length = inputs["input_ids"].shape[1]
    with torch.no_grad(), attached_to(app, model, tokenizer):
        model(**inputs)
        bare = hooks_on(model)
        app.break_on("layer:3 position:2 phase:prefill")
        app.orders = ["step_layer"] * 4
        model.generate(**inputs, max_new_tokens=3, do_sample=False)
        app.breakpoints.clear()
        app.break_on("layer:3 position:2")
        app.orders = ["step_layer"] * 9
        for ids in (inputs, batch_of(tokenizer, TEXTS[1:])):  # a step ends with its sequence
            model(**ids)
        hooked = hooks_on(model)
        app.orders = ["step_layer"] * 3
        model(**inputs)
        app.breakpoints[0].on = False  # of another sequence, and nothing stops there
        model(**batch_of(tokenizer, TEXTS[1:]))
        app.breakpoints[0].on = True
        del app.stops[11:]
        assert hooks_on(model) < hooked
        app.breakpoints.active = False
        assert hooks_on(model) == bare
    assert app.places[5:] == [(4, 3, 2), (4, 4, 2), (4, 5, 2), (5, 3, 2), (5, 4, 2), (5, 5, 2)]
    del app.stops[5:]
    assert app.places == [(1, 3, 2), (1, 4, 2), (1, 5, 2), (2, 0, 0), (2, 1, 0)]
    assert [stop["token"]["position"] for stop in app.stops] == [2, 2, 2, length, length]
    assert [stop["breakpoint"] for stop in app.stops] == [1, None, None, None, None]


def test_a_step_to_the_next_token_passes_over_the_same_token_at_other_layers(sample: Any) -> None:
    model, tokenizer = sample
    app, inputs = PlayedApp(), batch_of(tokenizer, TEXTS[:1])
    with torch.no_grad(), attached_to(app, model, tokenizer):
        model(**inputs)
        app.break_on("position:2")
        app.break_on("layer:4 position:0")
        app.break_on("phase:decode layer:2..3")
        app.orders = ["step_token"] * 5
        model.generate(**inputs, max_new_tokens=3, do_sample=False)
        model(**inputs)  # of another sequence, so another token, though at the same place
    assert app.places[:5] == [(1, 0, 2), (1, 4, 0), (1, 4, 2), (2, 2, 0), (3, 2, 0)]
    assert app.places[5] == (4, 0, 2)


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


def test_conditions_logpoints_and_hits_that_are_passed_over(sample: Any, tmp_path: Path, capsys: Any) -> None:
    model, tokenizer = sample
    app, path, inputs = PlayedApp({"limit": 4}), tmp_path / "run.h5", batch_of(tokenizer)
    with torch.no_grad(), attached_to(app, model, tokenizer, path):
        model(**inputs)
        log = app.break_on("layer:3", log="{row} {expert} {weight:.3f} {hits}", condition="position < limit")
        app.break_on("layer:1 position:0..5", ignore=3)
        broken = app.break_on("layer:0", condition="nowhere > 1")
        app.orders = ["step_token"] * 99
        model(**inputs)
    store = moedesk.open(path)
    start, stop = store.token_span(1, 2)
    tokens, experts, weights = (
        store.read_tokens(start, stop),
        store.experts(3, start, stop),
        store.weights(3, start, stop),
    )
    rows = [row for row, token in enumerate(tokens) if not token["is_padding"] and token["position"] < 4]
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line[0].isdigit()] == [
        f"{row} {experts[row][weights[row].argmax()]} {weights[row].max():.3f} {number}"
        for number, row in enumerate(rows, 1)
    ]
    assert log.hits == len(rows)
    assert app.places == sorted(found_in(path, "layer:1 position:0..5"))[3:]
    assert "NameError" in broken.problem
    assert sum("NameError" in line for line in printed) == 1
    assert broken.hits == 0


def test_so_many_lines_a_second_and_the_rest_counted(sample: Any, capsys: Any, monkeypatch: Any) -> None:
    model, tokenizer = sample
    app, now = PlayedApp(), [1000.0]
    monkeypatch.setattr("moedesk.probe.breaking.placed.time.monotonic", lambda: now[0])
    with torch.no_grad(), attached_to(app, model, tokenizer):
        model(**batch_of(tokenizer))
        app.break_on("layer:0..5", log="+")
        model(**batch_of(tokenizer))
        printed = capsys.readouterr().out.splitlines()
        now[0] += 1
        app.breakpoints[0].settle()
    assert printed == ["+"] * 20
    assert capsys.readouterr().out == f"… and {app.breakpoints[0].hits - 20} more lines of the logpoint layer:0..5\n"


def test_orders_of_an_app(sample: Any) -> None:
    model, tokenizer = sample
    app = PlayedApp()
    order = app.breakpoints.order
    with torch.no_grad(), attached_to(app, model, tokenizer):
        model(**batch_of(tokenizer))
        order({"do": "add", "text": "layer:1 expert:3", "ignore": 2})
        order({"do": "add", "breakpoint": {"text": "layer:2", "log": "{token}"}})
        assert [entry["text"] for entry in app.told["breakpoints"]["entries"]] == ["layer:1 expert:3", "layer:2"]
        order({"do": "change", "id": 1, "text": "layer:1 expert:4"})
        order({"do": "switch", "id": 2, "on": False})
        order({"do": "activate", "on": False})
        plain = {"log": "", "condition": "", "ignore": 0, "on": True, "hits": 0, "problem": ""}
        assert app.told["breakpoints"] == {
            "active": False,
            "entries": [
                {**plain, "id": 1, "text": "layer:1 expert:4"},
                {**plain, "id": 2, "text": "layer:2", "log": "{token}", "on": False},
            ],
        }
        order({"do": "add", "text": "layer:99"})
        assert "reaches beyond" in app.told["breakpoints"]["problem"]
        assert len(app.breakpoints) == 2
        order({"do": "remove", "id": 7})
        assert "no breakpoint 7" in app.told["breakpoints"]["problem"]
        order({"do": "remove", "id": 1})
        assert [placed.id for placed in app.breakpoints] == [2]
        assert "problem" not in app.told["breakpoints"]
        order({"do": "clear"})
        assert app.told["breakpoints"] == {"active": False, "entries": []}


def test_without_an_app_or_a_prompt_a_line_is_said_once_and_the_model_goes_on(sample: Any, capsys: Any) -> None:
    model, tokenizer = sample
    app = PlayedApp()
    app.connected = 0
    with torch.no_grad(), attached_to(app, model, tokenizer):
        model(**batch_of(tokenizer))
        app.break_on("layer:1")
        model(**batch_of(tokenizer))
        model(**batch_of(tokenizer))
    assert app.stops == []
    assert capsys.readouterr().out.count("the model goes on") == 1


@pytest.mark.parametrize("how", ["leaves", "clears", "detaches"])
def test_an_app_that_goes_and_a_list_that_is_cleared_let_the_model_go_on(how: str, sample: Any, capsys: Any) -> None:
    model, tokenizer = sample
    app, inputs = PlayedApp(), batch_of(tokenizer)
    with torch.no_grad(), attached_to(app, model, tokenizer) as (attachment, _):
        plain = model(**inputs).logits
        app.break_on("layer:1..4")

        def happen(breakpoints: Any, stop: Any) -> None:
            app.orders = ["nothing of the kind"] * 99
            match how:
                case "leaves":
                    assert breakpoints.hold.stop is not None
                    app.connected, leaving = 1, iter([1, 0])
                    breakpoints.hold._clients = lambda: next(leaving, 0)
                case "clears":
                    breakpoints.clear()
                case "detaches":
                    attachment.detach()

        app.at_stop = happen
        assert torch.equal(model(**inputs).logits, plain)
    assert len(app.stops) == 1
    assert ("no app is connected any more" in capsys.readouterr().out) == (how == "leaves")


def test_what_cannot_break_is_refused_and_leaves_the_list_alone(sample: Any) -> None:
    model, tokenizer = sample
    app = PlayedApp()
    with attached_to(app, model, tokenizer):
        with torch.no_grad():
            model(**batch_of(tokenizer))
        for text in ("", "is:rewound", "layer:6", "expert:16", "margen<1"):
            with pytest.raises(MoedeskError):
                app.break_on(text)
    assert len(app.breakpoints) == 0
    assert repr(app.breakpoints).startswith("no breakpoints")
