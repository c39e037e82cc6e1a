"""A model that came equals the one that was sent."""

import json
from dataclasses import replace
from math import isnan

import pytest

from moedesk.core.model import ModelInfo
from moedesk.core.verification import Check, LayerVerification, Verdict, Verification
from moedesk.link.model_json import model_from_json, model_to_json
from moedesk.link.protocol import LinkError
from tests.support.routing import random_model, random_modules


def full_model() -> ModelInfo:
    model = random_model(3)
    layers = (replace(model.layers[0], post_scale=2.5), *model.layers[1:])
    checks = (Check("replay", Verdict.FAILED, "ü", 1e-3, 2e-6), Check("counts", Verdict.NOT_CHECKED))
    tested = Verification("M", layers=(LayerVerification("a", "a.experts", checks),))
    config = {"a": [1, 2.5, None, {"b": "ü"}], "n": 3}
    model = replace(model, verification=tested)
    return replace(
        model, layers=layers, modules=random_modules(4), config=config, versions={"torch": "2"}, parameters=1 << 40
    )


def test_round_trip() -> None:
    model = full_model()
    found = model_from_json(model_to_json(model))
    assert found == model
    assert found.layers[0].post_scale == 2.5
    assert isnan(found.layers[1].post_scale)


def test_values_that_json_lacks_go_as_text() -> None:
    model = replace(full_model(), config={"dtype": {1}, "bad": "half \ud800"})
    assert model_from_json(model_to_json(model)).config == {"dtype": "{1}", "bad": "half ?"}


def test_another_version() -> None:
    content = json.loads(model_to_json(full_model()))
    content["layers"]["news"] = [1, 2, 3]
    del content["layers"]["router_path"], content["tokenizer"]
    assert model_from_json(json.dumps(content).encode()) == full_model()
    del content["verification"]
    assert model_from_json(json.dumps(content).encode()) == replace(full_model(), verification=None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layers", None), ("layers", {"path": ["a"], "block": ["B"]}),
        ("layers", {"path": [1], "block": ["B"], "experts": [2], "top_k": [1]}),
        ("modules", []), ("modules", {"path": 3}), ("name", 7), ("config", []), ("layers", {"path": ["a", "b"], "block": ["B"]}),
    ],
)  # fmt: skip
def test_no_model(name: str, value: object) -> None:
    content = json.loads(model_to_json(full_model())) | {name: value}
    with pytest.raises(LinkError):
        model_from_json(json.dumps(content).encode())
