"""Breakpoints: where they stop, against what the same filter finds in a capture of the same run; steps; what is told."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import moedesk
from tests.support.families import build, some_ids
from tests.support.stopping import TEXTS, PlayedApp, attached_to, batch_of, found_in, hooks_on

pytestmark = pytest.mark.usefixtures("no_hook_stays")


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


def test_one_that_is_set_in_the_middle_of_a_pass_stops_in_the_layers_to_come(sample: Any) -> None:
    """Those before found that none of the tokens can match, so that the layers rest; that no longer holds then."""
    model, tokenizer = sample
    app, inputs = PlayedApp(), batch_of(tokenizer)
    with torch.no_grad(), attached_to(app, model, tokenizer):
        model(**inputs)
        app.break_on("position:5000")

        def set_two(module: nn.Module, args: Any) -> None:
            app.break_on("layer:1 position:2")
            app.break_on("layer:4 position:2")

        handle = model.model.layers[3].register_forward_pre_hook(set_two)
        model(**inputs)
        handle.remove()
    assert {(stop["layer"], stop["token"]["position"]) for stop in app.stops} == {(4, 2)}


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
