"""The list of breakpoints: conditions, logpoints, orders of an app, an app that is missing or goes, what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

import moedesk
from moedesk.core.errors import MoedeskError
from tests.support.stopping import PlayedApp, attached_to, batch_of, found_in

pytestmark = pytest.mark.usefixtures("no_hook_stays")


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
