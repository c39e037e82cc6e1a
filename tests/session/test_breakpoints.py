"""Breakpoints and stops as the model's process tells them."""

import json
import math

import pytest

from moedesk.core.breakpoint import Breakpoint
from moedesk.core.errors import FilterError
from moedesk.core.selection import Kind, Selection
from moedesk.session import breakpoints
from moedesk.session.breakpoints import BreakpointEntry, BreakpointList, named_by, read_breakpoints
from moedesk.session.stop import Slot, read_stop
from tests.support.routing import random_model

MODEL = random_model(layers=4, experts=16, top_k=2)
TOLD = {
    "why": "layer:2 expert:5 margin<0.01",
    "breakpoint": 7,
    "layer": 2,
    "expert": 5,
    "token": {"sequence": 1, "position": 17, "column": 3, "text": " def", "id": 755, "row": 20},
    "phase": "decode",
    "pass": 12,
    "margin": 0.003,
    "ids": [5, -1, 3],
    "weights": [0.5, None, 0.25],
}


class Orders:
    """Stands in for the live side: only orders are asked of it."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, object]]] = []

    def order(self, topic: str, value: dict[str, object]) -> None:
        json.dumps(value)
        self.sent.append((topic, value))


def test_a_stop_is_read_and_said() -> None:
    stop = read_stop(TOLD)
    assert stop is not None
    assert stop.place == "2.5"
    assert (
        stop.where
        == 'pass 12 (decode), not stored yet · layer 2 · expert 5 · token " def" at 17 of sequence 1 · margin 0.003'
    )
    assert stop.chosen == "5 × 0.5 · dropped · 3 × 0.25"
    assert stop.slots[0] == Slot(5, 0.5)
    assert math.isnan(stop.slots[1].weight)
    assert stop.selection == Selection(Kind.EXPERT, layer=2, expert=5)


def test_a_stop_without_an_expert_selects_its_layer() -> None:
    stop = read_stop({**TOLD, "expert": None, "margin": None, "pass": None, "token": None})
    assert stop is not None
    assert stop.selection == Selection(Kind.LAYER, layer=2)
    assert stop.where == "decode · layer 2"
    assert stop.place == "2"


@pytest.mark.parametrize(
    "value", [{"layer": "x"}, {"ids": 3}, {"token": [], "margin": "low"}, {"ids": ["a"], "weights": {}}]
)
def test_what_makes_no_sense_in_a_stop_is_left_out(value: dict[str, object]) -> None:
    stop = read_stop(value)
    assert stop is not None
    assert (stop.layer, stop.slots) == (0, ())
    assert math.isnan(stop.margin)
    assert stop.why
    assert read_stop({}) is None


def test_breakpoints_are_read_and_broken_entries_left_out() -> None:
    told = {
        "active": False,
        "entries": [
            {
                "id": 1,
                "text": "layer:2",
                "on": False,
                "hits": 4,
                "log": "{token}",
                "condition": "hits > 2",
                "ignore": 3,
            },
            {"id": "x", "text": "layer:1"},
            {"text": "layer:1"},
            None,
            {"id": 2, "text": "expert:3", "problem": "no such expert"},
        ],
    }
    shown = read_breakpoints(told)
    assert not shown.active
    assert shown.entries == (
        BreakpointEntry(1, Breakpoint("layer:2", "{token}", "hits > 2", 3), False, 4),
        BreakpointEntry(2, Breakpoint("expert:3"), True, 0, "no such expert"),
    )
    assert shown.entry(2) is shown.entries[1]
    assert shown.entry(3) is None
    assert read_breakpoints({}) == BreakpointList()


def test_what_cannot_break_is_not_sent() -> None:
    live = Orders()
    for text in ("", "layer:9", "expert:16", "is:absent", "layr:3"):
        with pytest.raises(Exception, match=r"\w"):
            breakpoints.add(live, Breakpoint(text), MODEL)  # type: ignore[arg-type]
    with pytest.raises(FilterError):
        breakpoints.change(live, 1, Breakpoint("layer:9"), MODEL)  # type: ignore[arg-type]
    assert not live.sent
    breakpoints.add(live, Breakpoint("layer:3 expert:15"), MODEL)  # type: ignore[arg-type]
    assert live.sent[0][0] == "breakpoints"
    assert live.sent[0][1]["do"] == "add"


def test_layers_and_experts_that_breakpoints_name() -> None:
    def named(*texts: str, on: bool = True) -> tuple[set[int], set[tuple[int, int]]]:
        entries = tuple(BreakpointEntry(number, Breakpoint(text), on) for number, text in enumerate(texts))
        found = named_by(BreakpointList(entries), MODEL)
        return set(found.layers), set(found.experts)

    assert named("layer:2 expert:5 margin<0.01") == ({2}, {(2, 5)})
    assert named("layer:1..2 expert:3,4") == ({1, 2}, {(1, 3), (1, 4), (2, 3), (2, 4)})
    assert named("layer:3 is:nonfinite") == ({3}, set())
    assert named("is:nonfinite", "token:def") == (set(), set())
    assert named("-layer:0 expert:1") == ({1, 2, 3}, {(1, 1), (2, 1), (3, 1)})
    assert named("-expert:1") == (set(), set())
    assert named("layer:2", on=False) == (set(), set())
    assert named("layer:") == (set(), set())
