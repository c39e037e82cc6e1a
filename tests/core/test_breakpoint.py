"""Breakpoints: what can break, what is refused, what is written down."""

import pytest

from moedesk.core.breakpoint import FIELDS, Breakpoint, log_line
from moedesk.core.errors import MoedeskError
from moedesk.core.filter.keys import FLAGS, KEYS
from moedesk.core.model import LayerInfo, ModelInfo

MODEL = ModelInfo(
    "m", "Model", layers=tuple(LayerInfo(f"model.layers.{place}.mlp", "Block", 8, 2, place=place) for place in range(3))
)
AN_EXAMPLE = {"token": "token:def", "label": "label:python", "phase": "phase:decode", "is": "is:dropped"}


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_language_can_break(key: str) -> None:
    Breakpoint(AN_EXAMPLE.get(key, f"{key}:1")).check(MODEL)


@pytest.mark.parametrize("flag", FLAGS)
def test_flags_that_are_known_in_the_pass_can_break_and_others_say_why_not(flag: str) -> None:
    for text in (f"is:{flag}", f"layer:1 -is:dropped,{flag}"):
        if flag in ("dropped", "overridden", "padding", "nonfinite"):
            Breakpoint(text).check(MODEL)
        else:
            with pytest.raises(MoedeskError, match=f"^is:{flag} can't break: [^\n]+$"):
                Breakpoint(text).check(MODEL)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (Breakpoint("  "), "an empty filter breaks at nothing"),
        (Breakpoint("layer:12"), "beyond the layers; they are 0 to 2"),
        (Breakpoint("layer:1 expert:8"), "beyond the experts; they are 0 to 7"),
        (Breakpoint("margen<1"), "did you mean margin"),
        (Breakpoint("layer:1", ignore=-1), "ignore=-1"),
        (Breakpoint("layer:1", condition="margin <"), "no Python expression"),
        (Breakpoint("layer:1", condition="x = 3"), "no Python expression"),
        (Breakpoint("layer:1", condition="x\0"), "no Python expression"),
        (Breakpoint("layer:1", log="{nothing}"), "no field {nothing}"),
        (Breakpoint("layer:1", log="{token.__class__}"), "no field {token.__class__}"),
        (Breakpoint("layer:1", log="{ids[0]}"), r"no field {ids\[0\]}"),
        (Breakpoint("layer:1", log="{margin:{nothing}}"), "no field {nothing}"),
        (Breakpoint("layer:1", log="{margin"), "is wrong"),
        (Breakpoint("layer:1", log="{}"), "no field {}"),
        (Breakpoint("layer:1", log="{token:.3f}"), "can't be filled in"),
    ],
)
def test_what_makes_no_sense_is_one_line(given: Breakpoint, says: str) -> None:
    with pytest.raises(MoedeskError, match=says) as caught:
        given.check(MODEL)
    assert "\n" not in str(caught.value)


def test_a_log_line_has_every_field_and_formats() -> None:
    text = " ".join(f"{{{name}}}" for name in FIELDS) + " {margin:.3f} {{x}}"
    Breakpoint("layer:1", log=text).check()
    assert log_line(text, FIELDS) == " ".join(str(value) for value in FIELDS.values()) + " 0.100 {x}"


def test_json_and_calls_come_back_the_same() -> None:
    given = Breakpoint('layer:1 token:" def"', "{token!r}", "margin < 0.01", 3)
    assert Breakpoint.from_json(given.to_json()) == given
    assert eval(given.as_call(), {"moe": type("Moe", (), {"break_on": staticmethod(Breakpoint)})}) == given
    assert Breakpoint("layer:1").as_call() == "moe.break_on('layer:1')"


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"text": 3},
        {"text": "layer:1", "ignore": "3"},
        {"text": "layer:1", "ignore": True},
        {"text": "x", "more": 1},
    ],
)
def test_other_json_is_refused(value: dict) -> None:
    with pytest.raises(MoedeskError):
        Breakpoint.from_json(value)
