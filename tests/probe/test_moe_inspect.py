"""``inspect(x)``: the place it sends, and the standard library behind it."""

import inspect as standard
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from moedesk.core.errors import MoedeskError
from moedesk.core.selection import Kind, Selection
from moedesk.probe.console.moe import Moe
from moedesk.probe.console.reveal import Inspect, find_place
from moedesk.probe.console.selected import Selections
from tests.support.console import own_moe


@pytest.fixture
def moe(sample: tuple[Any, Any]) -> Iterator[Moe]:
    """With the sample model attached, and its layers known."""
    with own_moe() as moe:
        moe.attach(*sample)
        moe.run("x", 1)
        yield moe


EXPERT = {"kind": "expert", "layer": 3, "expert": 7}
LAYER = {"kind": "layer", "layer": 3}
GATE = {"kind": "module", "module": "model.layers.3.mlp.gate"}


@pytest.mark.parametrize(
    ("x", "place"),
    [
        ("3.7", EXPERT), ("expert 3.7", EXPERT), (" 3:7 ", EXPERT), ("layer 3", LAYER), (3, LAYER), (-3, LAYER),
        ("pass 12", {"kind": "pass", "pass_id": 12}), ("token 200", {"kind": "token", "token": 200}),
        ("model.layers.3.mlp", LAYER), ("model.layers.3.mlp.gate", GATE), ("lm_head", {"kind": "module", "module": "lm_head"}),
        (Selection(Kind.EXPERT, layer=3, expert=7), EXPERT),
    ],
)  # fmt: skip
def test_places_by_name(moe: Moe, x: Any, place: dict[str, Any]) -> None:
    assert find_place(x, moe.info, moe.model) == place


def test_places_by_object(moe: Moe) -> None:
    model, info = moe.model, moe.info
    block = model.model.layers[3].mlp
    assert find_place(block, info, model) == LAYER
    assert find_place(block.gate, info, model) == GATE
    assert find_place(info.layers[3], info, model) == LAYER
    assert find_place(model, info, model) == {"kind": "module", "module": ""}
    selections = Selections(moe)
    selections.take({"history": [{**EXPERT, "path": "model.layers.3.mlp", "token": None}]}, {})
    assert find_place(selections[0], info, model) == EXPERT


def test_an_expert_with_a_module_of_its_own() -> None:
    from moedesk.core.model import LayerInfo, ModelInfo

    model = torch.nn.ModuleDict({"experts": torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(4))})
    info = ModelInfo("m", "M", (LayerInfo("block", "B", 4, 2, experts_path="experts"),))
    assert find_place(model["experts"][2], info, model) == {"kind": "expert", "layer": 0, "expert": 2}


@pytest.mark.parametrize(
    ("x", "line"),
    [
        ("9.7", "there is no MoE layer 9; the model has 0…5"), ("3.16", "layer 3 has no expert 16; it has 0…15"),
        (99, "there is no MoE layer 99"), ("mlp", "there is no 'mlp': write"), (1.5, "not a float"), (True, "not a bool"),
        (torch.nn.Linear(1, 1), "this Linear is no module of the attached model"),
    ],
)  # fmt: skip
def test_what_is_not_there(moe: Moe, x: Any, line: str) -> None:
    with pytest.raises(MoedeskError) as caught:
        find_place(x, moe.info, moe.model)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_with_no_model_here_the_app_checks_the_numbers() -> None:
    assert find_place("99.7", None, None) == {"kind": "expert", "layer": 99, "expert": 7}


def test_without_an_app_it_says_how_to_connect_one(moe: Moe, capsys: pytest.CaptureFixture[str]) -> None:
    Inspect(moe)("3.7")
    assert capsys.readouterr().out.startswith("no app connected")


def test_the_standard_librarys_functions_are_there(moe: Moe) -> None:
    inspect: Any = Inspect(moe)
    assert inspect.signature(find_place) == standard.signature(find_place)
    assert inspect.isclass is standard.isclass
    assert set(dir(standard)) <= set(dir(inspect))
    assert not hasattr(inspect, "nothing")
