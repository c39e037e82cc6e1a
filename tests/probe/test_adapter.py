"""What an adapter declares, against what the blocks themselves say they did."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import moedesk
from moedesk.core.columns import RouteFlag
from moedesk.core.errors import CaptureWarning, MoedeskError, NoMoELayersError
from moedesk.probe.adapters.registry import declared, forget
from tests.support.gathered import gather


class Gate(nn.Module):
    """Returns weights, ids and logits, in an order of its own."""

    def __init__(self, width: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, experts, bias=False)
        self.top_k = top_k

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.linear(rows)
        weights, ids = logits.softmax(-1).topk(self.top_k)
        return weights, logits, ids


class OddMoE(nn.Module):
    """Experts in one tensor, run without a module of their own: nothing that the generic rule could see."""

    def __init__(self, width: int = 16, experts: int = 8, top_k: int = 2) -> None:
        super().__init__()
        self.gate = Gate(width, experts, top_k)
        self.stacked = nn.Parameter(torch.randn(experts, width, width) / 4)
        self.said: list[tuple[Tensor, Tensor]] = []

    def forward(self, hidden: Tensor) -> Tensor:
        rows = hidden.reshape(-1, hidden.shape[-1])
        weights, _, ids = self.gate(rows)
        self.said.append((ids, weights))
        return torch.einsum("nk,nkd->nd", weights, torch.einsum("nkdh,nd->nkh", self.stacked[ids], rows)).view_as(
            hidden
        )


class Odd(nn.Module):
    def __init__(self, block: Callable[[], nn.Module] = OddMoE, layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.layers = nn.ModuleList(nn.ModuleDict({"ffn": block()}) for _ in range(layers))

    def forward(self, idx: Tensor) -> Tensor:
        hidden = self.embed(idx)
        for layer in self.layers:
            hidden = hidden + layer["ffn"](hidden)
        return hidden


@pytest.fixture(autouse=True)
def no_adapter_stays() -> Iterator[None]:
    yield
    for adapter in declared():
        forget(adapter)


def some_ids() -> Tensor:
    return torch.randint(0, 50, (2, 7), generator=torch.Generator().manual_seed(0))


def check_against_what_it_said(model: Any, gathered: Any) -> None:
    for place, layer in enumerate(model.layers):
        for turn, (ids, weights) in enumerate(layer.ffn.said[-len(gathered.batches) :]):
            routes = gathered.routes(place, turn)
            np.testing.assert_array_equal(routes.experts, ids.numpy())
            np.testing.assert_array_equal(routes.weights, weights.detach().numpy())
            np.testing.assert_array_equal(routes.counts, np.bincount(ids.flatten(), minlength=8))


DECLARATIONS: dict[str, Callable[[], Any]] = {
    "by class name": lambda: moedesk.adapter("OddMoE", router="gate"),
    "by class": lambda: moedesk.adapter(OddMoE, router="gate"),
    "by path": lambda: moedesk.adapter("layers.*.ffn", router="gate"),
    "by function": lambda: moedesk.adapter(lambda module: hasattr(module, "stacked"), router="gate", name="odd"),
    "read": lambda: moedesk.adapter(
        "OddMoE", n_experts=8, read=lambda block, args, kwargs, output: moedesk.Routing(*block.said[-1])
    ),
    "read of the gate": lambda: moedesk.adapter(
        "OddMoE", hook="gate", read=lambda gate, args, kwargs, output: (output[2], output[0], output[1])
    ),
    "decorator": lambda: moedesk.adapter("OddMoE", n_experts=lambda block: len(block.stacked))(
        lambda block, args, kwargs, output: block.said[-1]
    ),
}


@pytest.mark.parametrize("how", DECLARATIONS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_a_declared_block_is_read_as_it_says(how: str, mode: Any) -> None:
    torch.manual_seed(1)
    model = Odd()
    with mode():
        before = model(some_ids())
    DECLARATIONS[how]()
    recording, gathered = gather(model, logits=True)
    with mode(), recording:
        outputs = [model(some_ids()) for _ in range(3)]
    assert all(torch.equal(before, output) for output in outputs)
    assert len(gathered.batches) == 3
    assert gathered.notes == []
    check_against_what_it_said(model, gathered)
    (layer, _) = gathered.model.layers
    assert (layer.path, layer.experts, layer.top_k, layer.selection) == ("layers.0.ffn", 8, 2, "token choice")
    assert layer.adapter
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    with torch.no_grad():
        model(some_ids())
    assert len(gathered.batches) == 3


def test_logits_give_score_entropy_and_margin() -> None:
    torch.manual_seed(1)
    model = Odd()
    moedesk.adapter("OddMoE", router="gate")
    recording, gathered = gather(model, logits=True)
    with torch.no_grad(), recording:
        model(some_ids())
        model(some_ids())
        logits = model.layers[0].ffn.gate.linear(model.embed(some_ids())).reshape(-1, 8)
    assert gathered.model.layers[0].score == "softmax"
    scores = np.sort(logits.softmax(-1).numpy(), axis=1)
    for turn in range(2):
        routes = gathered.routes(0, turn)
        np.testing.assert_array_equal(routes.logits, logits.numpy())
        np.testing.assert_allclose(routes.margin, scores[:, -2] - scores[:, -3], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(routes.entropy, -(scores * np.log(scores)).sum(1), rtol=1e-4)


def test_without_a_declaration_the_error_names_what_was_declared() -> None:
    with pytest.raises(NoMoELayersError, match="no Mixture-of-Experts layer"), gather(Odd())[0]:
        pass
    moedesk.adapter("EvenMoE", router="gate")
    with pytest.raises(NoMoELayersError, match="declared \\('EvenMoE'\\) none fits"), gather(Odd())[0]:
        pass


def test_a_module_that_is_not_there_is_named_when_attaching() -> None:
    moedesk.adapter("OddMoE", router="gat")
    with pytest.raises(MoedeskError, match="OddMoE has no module 'gat'; it has gate"), gather(Odd())[0]:
        pass


WRONG: dict[str, tuple[Any, str]] = {
    "raises": (lambda b, a, k, o: b.nothing, "AttributeError"),
    "shapes": (lambda b, a, k, o: (b.said[-1][0], b.said[-1][1][:, :1]), "same shape"),
    "range": (lambda b, a, k, o: (b.said[-1][0] + 7, b.said[-1][1]), "there are 8 experts"),
    "floats": (lambda b, a, k, o: b.said[-1][::-1], "instead of integers"),
    "nonsense": (lambda b, a, k, o: "hello", "str instead of"),
    "one value": (lambda b, a, k, o: (b.said[-1][0],), "1 values"),
    "logits": (lambda b, a, k, o: (*b.said[-1], b.said[-1][1]), "2 columns"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_read_leaves_the_layer_out_by_name(what: str) -> None:
    read, line = WRONG[what]
    moedesk.adapter("OddMoE", n_experts=8, read=read)
    model = Odd()
    recording, gathered = gather(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with torch.no_grad(), recording:
            model(some_ids())
            model(some_ids())
    said = [str(warning.message) for warning in caught]
    assert len(said) == 3
    assert sum(line in text and "adapter 'OddMoE'" in text for text in said) == 2
    assert said[-1] == "nothing was recorded: no MoE layer of Odd could be read"
    assert gathered.batches == []
    assert sum(f"layers.{n}.ffn is left out" in note for note in gathered.notes for n in (0, 1)) == 2
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("what", WRONG)
def test_a_read_that_goes_wrong_later_leaves_out_what_follows(what: str) -> None:
    read, _ = WRONG[what]
    good: list[bool] = [True]
    moedesk.adapter("OddMoE", n_experts=8, read=lambda *call: call[0].said[-1] if good[0] else read(*call))
    model = Odd()
    recording, gathered = gather(model)
    with warnings.catch_warnings(), torch.no_grad(), recording:
        warnings.simplefilter("always")
        model(some_ids())
        good[0] = False
        if what == "range":  # found on the host, not by a hook that would have to wait for the device
            model(some_ids())
        else:
            with pytest.warns(CaptureWarning, match="left out from here on"):
                model(some_ids())
    assert [routes.layer for routes in gathered.batches[0].layers] == [0, 1]
    assert all(not batch.layers for batch in gathered.batches[1:])
    assert sum("left out" in note for note in gathered.notes) == 2


@pytest.mark.parametrize("off_by", [1, 256, 2**32, -3, -256])
def test_a_wrong_id_that_small_integers_would_make_a_right_one_stays_wrong(off_by: int) -> None:
    good: list[bool] = [True]

    def read(block: Any, args: Any, kwargs: Any, output: Any) -> moedesk.Routing:
        ids, weights = block.said[-1]
        return moedesk.Routing(ids if good[0] else ids.where(ids != 7, 7 + off_by if off_by > 0 else off_by), weights)

    moedesk.adapter("OddMoE", n_experts=8, read=read)
    model = Odd(layers=1)
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        model(some_ids())
        good[0] = False
        model(some_ids())
        assert bool((model.layers[0].ffn.said[-1][0] == 7).any())
    assert [len(batch.layers) for batch in gathered.batches] == [1, 0]
    assert [note for note in gathered.notes if "gave ids outside 0 to 7" in note] == gathered.notes != []


def test_a_row_that_the_layer_did_not_see() -> None:
    def read(block: Any, args: Any, kwargs: Any, output: Any) -> moedesk.Routing:
        ids, weights = block.said[-1]
        return moedesk.Routing(ids.index_fill(0, torch.tensor([3]), -2), weights)

    moedesk.adapter("OddMoE", n_experts=8, read=read)
    model = Odd()
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        model(some_ids())
        model(some_ids())
    for turn in range(2):
        routes, (ids, weights) = gathered.routes(0, turn), model.layers[0].ffn.said[turn]
        assert routes.flags.tolist() == [RouteFlag.ABSENT if row == 3 else 0 for row in range(14)]
        assert routes.experts[3].tolist() == [-1, -1]
        assert np.isnan(routes.weights[3]).all()
        seen = np.arange(14) != 3
        np.testing.assert_array_equal(routes.experts[seen], ids.numpy()[seen])
        np.testing.assert_array_equal(routes.weights[seen], weights.numpy()[seen])
        assert routes.counts.sum() == 26


def test_the_users_latest_declaration_comes_first() -> None:
    first = moedesk.adapter("OddMoE", router="gate", name="first")
    second = moedesk.adapter("OddMoE", router="gate", name="second")
    assert declared() == (second,)
    third = moedesk.adapter(OddMoE, router="gate", name="third")
    assert declared() == (third, second)
    assert first.name == "first"
