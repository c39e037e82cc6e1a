"""Overrides as data: one line each way, refused in one line."""

import json
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moedesk.core.errors import MoedeskError
from moedesk.core.model import LayerInfo, ModelInfo
from moedesk.core.override import Override, OverrideKind, noted_titles

MODEL = ModelInfo(
    "tiny", "Tiny", tuple(LayerInfo(f"layers.{place}.mlp", "Block", 8, 2, place=place) for place in range(4))
)
ABLATE = Override(OverrideKind.ABLATE, (3,), (7,))


@pytest.mark.parametrize(
    ("override", "call", "title"),
    [
        (ABLATE, "moe.ablate(3, 7)", "ablate expert 7 in layer 3"),
        (
            Override(OverrideKind.EXCLUDE, (), (1, 2, 3), columns=(4, 9), phases=("decode",)),
            "moe.exclude(None, [1, 2, 3], columns=(4, 9), phase='decode')",
            "exclude experts 1–3 in all layers · columns 4:9 · decode",
        ),
        (
            Override(OverrideKind.BIAS, (0, 1), (5,), 2.0, name="push 5"),
            "moe.bias([0, 1], 5, 2, name='push 5')",
            "bias +2 on expert 5 in layers 0, 1",
        ),
        (Override(OverrideKind.SWAP, (0,), (1, 4)), "moe.swap(0, 1, 4)", "swap experts 1, 4 in layer 0"),
        (Override(OverrideKind.TOP_K, (), (), 1.0), "moe.set_k(None, 1)", "k = 1 in all layers"),
        (
            Override(OverrideKind.REPLAY, (1,), capture="run.h5", weights=True),
            "moe.replay('run.h5', layers=1, weights=True)",
            "replay ids and weights of run.h5 in layer 1",
        ),
    ],
)
def test_calls_and_titles(override: Override, call: str, title: str) -> None:
    override.check(MODEL)
    assert override.as_call() == call
    assert override.title == title


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (Override(OverrideKind.ABLATE, (4,), (7,)), "no MoE layer 4; the model has 4, 0 to 3"),
        (Override(OverrideKind.ABLATE, (-1,), (7,)), "no MoE layer -1"),
        (Override(OverrideKind.ABLATE, (), (8,)), r"no expert 8 in layer 0 \(layers.0.mlp\); it has 8"),
        (Override(OverrideKind.ABLATE), "needs at least one expert"),
        (Override(OverrideKind.ABLATE, (), (1, 1)), "names an expert twice"),
        (Override(OverrideKind.ABLATE, (), (1,), 2.0), "takes no number"),
        (Override(OverrideKind.SWAP, (), (1,)), "two experts, not 1"),
        (Override(OverrideKind.TEMPERATURE), "needs a number"),
        (Override(OverrideKind.TEMPERATURE, value=0.0), "above 0"),
        (Override(OverrideKind.TEMPERATURE, value=nan), "finite"),
        (Override(OverrideKind.BIAS, (), (1,), inf), "finite"),
        (Override(OverrideKind.TOP_K, value=9.0), "k = 9 is more than the 8 experts"),
        (Override(OverrideKind.TOP_K, value=1.5), "whole number"),
        (Override(OverrideKind.TOP_K, value=1.0, columns=(0, 3)), "whole passes"),
        (Override(OverrideKind.TOP_K, (), (1,), value=1.0), "names no experts"),
        (Override(OverrideKind.FORCE, (), (1, 2, 3)), "can't be forced into the 2 slots"),
        (Override(OverrideKind.EXCLUDE, (), tuple(range(7))), "1 experts would be left"),
        (Override(OverrideKind.ABLATE, (), (1,), columns=(3, 3)), "hold no token"),
        (Override(OverrideKind.ABLATE, (), (1,), phases=("sleep",)), "no phase 'sleep'"),
        (Override(OverrideKind.REPLAY), "path of a capture"),
        (Override(OverrideKind.ABLATE, (), (1,), weights=True), "only replay"),
        (Override(OverrideKind.ABLATE, (), (1,), name="two\nlines"), "one line"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(override: Override, words: str) -> None:
    with pytest.raises(MoedeskError, match=words) as caught:
        override.check(MODEL)
    assert "\n" not in str(caught.value)


def test_a_model_without_moe_layers_is_refused() -> None:
    with pytest.raises(MoedeskError, match="no MoE layers"):
        Override(OverrideKind.TEMPERATURE, value=2.0).check(ModelInfo("dense", "Dense"))


numbers = st.lists(st.integers(0, 500), unique=True, max_size=5).map(tuple)
overrides = st.builds(
    Override,
    st.sampled_from(OverrideKind),
    numbers,
    numbers,
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.tuples(st.integers(0, 99), st.integers(100, 200)),
    st.lists(st.sampled_from(["prefill", "decode"]), unique=True).map(tuple),
    st.text(max_size=8),
    st.booleans(),
    st.text(max_size=8),
)


@given(overrides)
def test_json_there_and_back(override: Override) -> None:
    assert Override.from_json(json.loads(json.dumps(override.to_json()))) == override


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "is an object"),
        ({}, "no kind of override None"),
        ({"kind": "delete"}, "no kind of override 'delete'"),
        ({"kind": ["ablate"]}, "no kind of override"),
        ({"kind": "ablate", "expert": 3}, "has no 'expert'"),
        ({"kind": "ablate", "experts": 3}, "list of whole numbers, not 3"),
        ({"kind": "ablate", "experts": [True]}, "list of whole numbers"),
        ({"kind": "ablate", "experts": [1.0]}, "list of whole numbers"),
        ({"kind": "bias", "value": "2"}, "is a number"),
        ({"kind": "ablate", "columns": [1]}, "two whole numbers"),
        ({"kind": "ablate", "phases": "decode"}, "list of texts"),
        ({"kind": "ablate", "name": 3}, "is a text"),
        ({"kind": "replay", "weights": 1}, "true or false"),
    ],
)
def test_other_json_is_refused_in_one_line(values: object, words: str) -> None:
    with pytest.raises(MoedeskError, match=words) as caught:
        Override.from_json(values)
    assert "\n" not in str(caught.value)


def test_the_notes_of_earlier_captures_name_overrides() -> None:
    line = "overridden: ablate expert 3 in layer 1 · columns 0:4; the rows it changed are marked (is:overridden)"
    override = Override(OverrideKind.ABLATE, (1,), (3,), columns=(0, 4))
    assert noted_titles(("the recording stopped early", line, "overridden by nobody")) == (override.title,)
    assert noted_titles(()) == ()
