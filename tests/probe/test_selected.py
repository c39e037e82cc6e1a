"""Selections: what the app sends of them, as the app really makes it, as objects with the model's own modules."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from moedesk.core.errors import MoedeskError
from moedesk.core.selection import Kind, Selection
from moedesk.probe.console.loaded import Loaded
from moedesk.probe.console.selected import Selections
from moedesk.probe.console.selected_place import SelectedExpert, SelectedLayer, SelectedModule, SelectedPass
from moedesk.probe.console.selected_stop import SelectedStop
from moedesk.probe.console.selected_token import SelectedToken
from moedesk.session.selected import selected_data
from tests.support.console import own_moe

HISTORY = [
    Selection(Kind.EXPERT, layer=3, expert=7),
    Selection(Kind.TOKEN, token=5, pass_id=0),
    Selection(Kind.LAYER, layer=2),
    Selection(Kind.PASS, pass_id=1),
    Selection(Kind.MODULE, module="model.embed_tokens"),
]


@pytest.fixture
def model(sample: tuple[Any, Any]) -> Any:
    return sample[0]


@pytest.fixture
def capture(sample: tuple[Any, Any], tmp_path: Any) -> Iterator[Any]:
    """Two passes of the sample model."""
    import moedesk

    model, tokenizer = sample
    with torch.no_grad(), moedesk.record(model, tmp_path / "run.h5", tokenizer=tokenizer):
        for text in ("def add(a, b):", "Der Hund bellt"):
            model(torch.tensor([tokenizer(text).input_ids]))
    with moedesk.open(tmp_path / "run.h5") as capture:
        yield capture


@pytest.fixture
def selections(sample: tuple[Any, Any], capture: Any) -> Iterator[Selections]:
    """What the app would send, with the model attached."""
    with own_moe() as moe:
        moe.attach(*sample)
        selections = Selections(moe)
        selections.take(*selected_data(capture, HISTORY))
        yield selections


def test_kinds_the_newest_first(selections: Selections) -> None:
    kinds = [SelectedExpert, SelectedToken, SelectedLayer, SelectedPass, SelectedModule]
    assert [type(item) for item in selections] == kinds
    assert len(selections[1:3]) == 2
    assert selections[-1] is selections[4]
    assert repr(selections).splitlines()[0] == "$0  expert 3.7 · model.layers.3.mlp"


def test_an_expert(selections: Selections, model: Any, capture: Any) -> None:
    expert, counts = selections[0], capture.counts(3)
    block = model.model.layers[3].mlp
    assert isinstance(expert, SelectedExpert)
    assert expert.arrays.keys() == {"counts"}
    assert (expert.layer, expert.expert, expert.path) == (3, 7, "model.layers.3.mlp")
    assert expert.count == counts[7]
    assert expert.share == pytest.approx(counts[7] / counts.sum())
    assert expert.module is block.experts
    assert expert.router is block.gate
    own = {name: stacked[7] for name, stacked in block.experts.named_parameters()}
    assert expert.parameters.keys() == own.keys()
    for name, tensor in expert.parameters.items():
        assert tensor.data_ptr() == own[name].data_ptr()
        assert tensor.shape == own[name].shape
    assert f"{counts[7]:,} of {counts.sum():,} slots" in repr(expert)
    assert expert._repr_html_().count("<img") == 1


def test_a_layer(selections: Selections, model: Any, capture: Any) -> None:
    layer = selections[2]
    assert isinstance(layer, SelectedLayer)
    np.testing.assert_array_equal(layer.counts, capture.counts(2))
    assert layer.module is model.model.layers[2].mlp
    assert layer.experts is layer.module.experts
    assert f"most on 2.{capture.counts(2).argmax()}" in repr(layer)


def test_a_token(selections: Selections, capture: Any) -> None:
    token = selections[1]
    assert isinstance(token, SelectedToken)
    assert token.text == capture.text(5, 6)
    np.testing.assert_array_equal(token.experts, [capture.experts(layer, 5, 6)[0] for layer in range(6)])
    np.testing.assert_array_equal(token.weights, [capture.weights(layer, 5, 6)[0] for layer in range(6)])
    np.testing.assert_array_equal(token.margin, [capture.margin(layer, 5, 6)[0] for layer in range(6)])
    np.testing.assert_array_equal(token.entropy, [capture.entropy(layer, 5, 6)[0] for layer in range(6)])
    np.testing.assert_array_equal(token.layers, range(6))
    assert token.module is None
    assert f"{token.experts[0, 0]} × {token.weights[0, 0]:.3f}" in repr(token)


def test_a_pass_and_a_module(selections: Selections, model: Any, capture: Any) -> None:
    step, module = selections[3], selections[4]
    assert isinstance(step, SelectedPass)
    assert step.header["n_tokens"] == capture.passes[1]["n_tokens"]
    assert "prefill" in repr(step)
    assert module.module is model.model.embed_tokens
    assert f"{module.module.weight.numel():,}" in repr(module)


def test_an_expert_that_is_a_module_of_its_own() -> None:
    experts = torch.nn.ModuleDict({f"expert_{n}": torch.nn.Linear(2, 3) for n in range(4)})
    with own_moe() as moe:
        moe._loaded = Loaded(torch.nn.ModuleDict({"experts": experts}), None)
        selections = Selections(moe)
        selections.take({"history": [{"kind": "expert", "layer": 0, "expert": 2, "experts_path": "experts"}]}, {})
        expert = selections[0]
        assert expert.module is experts["expert_2"]
        assert expert.module_path == "experts.expert_2"
        assert expert.parameters["weight"] is experts["expert_2"].weight
        assert expert.share is None


def test_without_the_model_the_data_are_there(capture: Any) -> None:
    with own_moe() as moe:
        selections = Selections(moe)
        selections.take(*selected_data(capture, HISTORY))
        assert [item.module for item in selections] == [None] * 5
        assert selections[0].parameters == {}
        assert all(repr(item) and item._repr_html_() for item in selections)


def test_what_the_app_could_not_read_is_said(capture: Any) -> None:
    with own_moe() as moe:
        selections = Selections(moe)
        selections.take(*selected_data(capture, [Selection(Kind.EXPERT, layer=99, expert=0)]))
        assert "no MoE layer 99" in repr(selections[0])


def test_nothing_selected() -> None:
    with own_moe() as moe:
        selections = Selections(moe)
        with pytest.raises(MoedeskError, match=r"nothing is selected; click .* in the app") as caught:
            selections[0]
        assert isinstance(caught.value, IndexError)
        assert list(selections) == []
        assert "click" in repr(selections)


def test_where_the_model_stands_stays_the_stop_that_knows_the_token() -> None:
    moe = SimpleNamespace(stands=True)
    selections = Selections(moe)  # type: ignore[arg-type]

    def app_selects(*places: tuple[int, int]) -> list[str]:
        history = [{"kind": "expert", "layer": layer, "expert": expert} for layer, expert in places]
        selections.take({"history": history}, {})
        return [str(item.fields["kind"]) for item in selections]

    assert app_selects((1, 2)) == ["expert"]
    selections.put(SelectedStop(moe, {"kind": "stop", "layer": 3, "expert": 7, "text": "def"}, {}))  # type: ignore[arg-type]
    assert app_selects((3, 7), (1, 2)) == ["stop", "expert"]
    assert selections[0].fields["text"] == "def"
    assert app_selects((0, 5), (3, 7), (1, 2)) == ["expert", "stop", "expert"], "clicked elsewhere while it stands"
    assert app_selects((3, 6)) == ["expert"]
    moe.stands = False
    assert app_selects((3, 7)) == ["expert"], "the pass is over"
