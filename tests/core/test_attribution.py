"""Explanations are the same after a journey as JSON text and arrays; what is none is refused in one line."""

import json
from dataclasses import fields, replace
from math import nan
from typing import Any

import numpy as np
import pytest

from moedesk.core.attribution import Attribution, Component, Counterfactual, Explanation, TokenPlace, Why
from moedesk.core.attribution_json import put_together, taken_apart
from moedesk.core.errors import MoedeskError

TOKEN = TokenPlace("ür", 7, 3, sequence=1, position=3, column=4, row=19, pass_id=2, stream="main")
WHY = Why(
    TOKEN,
    2,
    logits=np.array([0.1, 2.0]),
    kept=np.array([True, False]),
    chosen=np.array([1]),
    components=(Component("embedding", "embedding", "model.embed"), Component("attention 0", block=0)),
    contributions=np.array([[0.5, 1.0], [-0.4, 1.0]]),
    experts=np.array([0, 1]),
    remainder=np.array([0.0, 1e-9]),
    tolerance=np.array([1e-6, 1e-6]),
    notes=("the norm is frozen",),
)
EXPLANATIONS = [
    WHY,
    Attribution(TOKEN, 5, " x", value=1.5, explained=1.25, tolerance=nan, attention=np.zeros((2, 1, 4))),
    Counterfactual(TOKEN, 5, " x", tried_layers=np.array([2]), own=np.array([True, False])),
]


def travelled(explanation: Explanation) -> Explanation:
    value, arrays = taken_apart(explanation)
    return put_together(json.loads(json.dumps(value, allow_nan=False)), arrays)


@pytest.mark.parametrize("explanation", EXPLANATIONS, ids=lambda explanation: explanation.KIND)
def test_it_comes_back_as_it_was(explanation: Explanation) -> None:
    back = travelled(explanation)
    assert type(back) is type(explanation)
    for each in fields(explanation):
        np.testing.assert_equal(getattr(back, each.name), getattr(explanation, each.name))


def test_complete_is_within_the_tolerance() -> None:
    assert WHY.complete
    assert not replace(WHY, remainder=np.array([0.0, 2e-6])).complete
    assert not replace(WHY, remainder=np.array([0.0, nan])).complete
    assert not replace(WHY, remainder=np.zeros(0), tolerance=np.zeros(0)).complete
    attribution = Attribution(TOKEN, value=1.5, explained=1.25, tolerance=0.3)
    assert attribution.residual == 0.25
    assert attribution.complete
    assert not replace(attribution, tolerance=nan).complete


@pytest.mark.parametrize(
    ("change", "arrays", "said"),
    [
        ({"kind": "because"}, {}, "'because' is no kind of explanation; there are why, attribution, counterfactual"),
        ({"layer": "2"}, {}, "why: layer is '2', which is no int"),
        ({"layer": True}, {}, "why: layer is 'True', which is no int"),
        ({"token": {"text": 4}}, {}, "why: token.text is '4', which is no str"),
        ({"components": [{}]}, {}, "why: components lacks what it needs"),
        ({}, {"logits": np.zeros((1, 2))}, "why: logits is 2-dimensional float64, not 1-dimensional float64"),
        ({}, {"chosen": np.zeros(2)}, "why: chosen is 1-dimensional float64, not 1-dimensional int64"),
    ],
)
def test_what_is_none_is_refused(change: dict[str, Any], arrays: dict[str, np.ndarray], said: str) -> None:
    value, own = taken_apart(WHY)
    with pytest.raises(MoedeskError) as error:
        put_together(value | change, own | arrays)
    assert str(error.value) == said


def test_a_field_of_later_versions_is_left_out() -> None:
    value, arrays = taken_apart(WHY)
    assert isinstance(put_together(value | {"mood": 3}, arrays), Why)
