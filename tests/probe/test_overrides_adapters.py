"""Overrides of the score in families that an adapter reads and whose choice no module of theirs makes, against brute force."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import moedesk
from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.core.override_code import as_python
from moedesk.probe.overriding.layers import Layers
from moedesk.probe.overriding.overrides import Overrides
from tests.support.families import FAMILIES, some_ids
from tests.support.families.observed import first_tensor
from tests.support.gathered import gather
from tests.support.overridden import added

EXCLUDE, FORCE, BIAS, TEMPERATURE = (
    OverrideKind.EXCLUDE, OverrideKind.FORCE, OverrideKind.BIAS, OverrideKind.TEMPERATURE,
)  # fmt: skip


def on(model: nn.Module, inputs: dict[str, Any], *given: Override) -> AbstractContextManager[Overrides]:
    return added(Overrides(model, Layers(model, inputs=inputs)), *given)


@torch.no_grad()
def run(model: nn.Module, inputs: dict[str, Any]) -> Tensor:
    return first_tensor(model(**inputs)).clone()


@pytest.fixture(scope="module")
def doge() -> Any:
    return FAMILIES["doge"].build()


def by_hand(logits: Tensor, override: Override, k: int = 2) -> tuple[list[set[int]], Tensor]:
    """The best k of all experts of each row, and softmax over their logits, as (N, E) weights."""
    logits, experts = logits.clone(), list(override.experts)
    if override.kind is BIAS:
        logits[:, experts] += override.value
    if override.kind is TEMPERATURE:
        logits /= override.value
    ranked = logits.clone()
    ranked[:, experts] = {EXCLUDE: -torch.inf, FORCE: torch.inf}.get(override.kind, ranked[:, experts])
    ids = ranked.argsort(-1, descending=True)[:, :k]
    weights = torch.zeros_like(logits).scatter(1, ids, logits.gather(1, ids).softmax(-1))
    return [set(row) for row in ids.tolist()], weights


@pytest.mark.parametrize(
    "override",
    [
        Override(EXCLUDE, (1,), (3, 9)),
        Override(FORCE, (1,), (6,)),
        Override(BIAS, (1,), (2, 5), 1.5),
        Override(TEMPERATURE, (1,), value=2.5),
        Override(EXCLUDE, (1,), (3, 9), columns=(2, 5)),
    ],
    ids=lambda override: override.title,
)
def test_doges_pairs_of_keys_are_ranked_anew(doge: Any, override: Override) -> None:
    """Its experts are neurons, so the block's output is written out here: shared part, and the chosen neurons by weight."""
    block, seen = doge.model.layers[1].mlp, {}
    handle = block.register_forward_hook(
        lambda module, args, kwargs, output: seen.update(given=args[0], output=output), with_kwargs=True
    )
    inputs = {"input_ids": some_ids()}
    plain = run(doge, inputs)
    x, y = seen["output"][1]
    logits = (x.unsqueeze(-1) + y.unsqueeze(-2)).flatten(1)
    before = by_hand(logits, Override(TEMPERATURE, value=1.0))[1]
    sets, weights = by_hand(logits, override)
    with on(doge, inputs, override) as overrides:
        recording, gathered = gather(doge)
        with recording:
            changed = run(doge, inputs)
        acted = overrides.acted(overrides.entries[0])
    handle.remove()
    if override.columns:
        here = torch.zeros(2, 9, 1, dtype=torch.bool)
        here[:, 2:5] = True
        weights = torch.where(here.view(-1, 1), weights, before)
        sets = [set(row.nonzero().flatten().tolist()) for row in weights]
    routes = gathered.routes(1)
    assert [set(row) for row in routes.experts.tolist()] == sets
    np.testing.assert_allclose(routes.weights, weights.gather(1, torch.tensor(routes.experts).long()), rtol=1e-5)
    differ = (weights != before).any(-1)
    np.testing.assert_array_equal(routes.flags != 0, differ)
    assert acted == differ.sum() > 0
    assert np.isnan(routes.margin).all() or routes.margin is None
    rows = seen["given"].flatten(0, 1)
    shared = block.down_proj(block.act_fn(block.gate_proj(rows)) * block.up_proj(rows))
    active = block.act_fn(rows @ block.down_embed.weight.T) * weights
    expected = shared + active @ block.up_embed.weight
    torch.testing.assert_close(seen["output"][0].flatten(0, 1), expected, rtol=1e-4, atol=1e-6)
    assert not torch.equal(changed, plain)
    assert torch.equal(run(doge, inputs), plain)


@pytest.mark.parametrize(("k", "norm"), [(1, False), (3, False), (5, True), (16, False)])
def test_doges_k_is_that_of_a_model_made_with_another_one(k: int, norm: bool) -> None:
    """Bit by bit: its output, and what is captured of it."""
    model = FAMILIES["doge"].build(norm_topk_prob=norm)
    rebuilt = FAMILIES["doge"].build(norm_topk_prob=norm, num_experts_per_tok=k)
    rebuilt.load_state_dict(model.state_dict())
    inputs = {"input_ids": some_ids()}
    plain = run(model, inputs)
    recording, expected = gather(rebuilt)
    with recording:
        output = run(rebuilt, inputs)
    with on(model, inputs, Override(OverrideKind.TOP_K, value=float(k))) as overrides:
        recording, gathered = gather(model)
        with recording:
            assert torch.equal(run(model, inputs), output)
        code = as_python([entry.override for entry in overrides.entries], overrides.info)
    for layer in (0, 1):
        routes, others = gathered.routes(layer), expected.routes(layer)
        assert routes.experts.shape == (18, k)
        np.testing.assert_array_equal(routes.experts, others.experts)
        np.testing.assert_array_equal(routes.weights, others.weights)
        assert (routes.flags != 0).all()
    assert torch.equal(run(model, inputs), plain)
    assert not torch.equal(output, plain)
    assert model.model.layers[0].mlp.top_k == 2
    names: dict[str, Any] = {"model": model}
    exec(code, names)
    assert torch.equal(run(model, inputs), output)
    for take_back in names["undo"]:
        take_back()
    assert torch.equal(run(model, inputs), plain)


@pytest.mark.parametrize(
    "override", [Override(EXCLUDE, (1,), (3, 9)), Override(FORCE, (1,), (6,))], ids=lambda o: o.title
)
def test_doges_other_overrides_act_on_what_another_k_chooses(doge: Any, override: Override) -> None:
    inputs = {"input_ids": some_ids()}
    with on(doge, inputs, override, Override(OverrideKind.TOP_K, value=3.0)):
        recording, gathered = gather(doge, logits=True)
        with recording:
            run(doge, inputs)
    routes = gathered.routes(1)
    sets, weights = by_hand(torch.from_numpy(routes.logits.copy()), override, 3)
    assert [set(row) for row in routes.experts.tolist()] == sets
    np.testing.assert_allclose(routes.weights, weights.gather(1, torch.tensor(routes.experts).long()), rtol=1e-5)


def test_checkpointing_computes_doges_other_k_again() -> None:
    """Gradients are those of a model made with that k; what reads the routing, and runs the experts again, too."""
    model = FAMILIES["doge"].build().train()
    rebuilt = FAMILIES["doge"].build(num_experts_per_tok=3).train()
    rebuilt.load_state_dict(model.state_dict())
    found: list[dict[str, Tensor]] = []
    k, scaled = Override(OverrideKind.TOP_K, value=3.0), Override(OverrideKind.SCALE, (), (4,), 0.5)
    for one, given in ((rebuilt, [scaled]), (model, [k, scaled])):
        one.activation_checkpointing_enable()
        with on(one, {"input_ids": some_ids()}, *given):
            first_tensor(one(input_ids=some_ids(), use_cache=False)).square().sum().backward()
        found.append({name: part.grad for name, part in one.named_parameters() if part.grad is not None})
    plain, again = found
    assert plain.keys() == again.keys()
    for name in plain:
        assert torch.equal(plain[name], again[name]), name


def test_doges_replayed_ids_give_the_same_bits(doge: Any, tmp_path: Path) -> None:
    inputs = {"input_ids": some_ids()}
    with on(doge, inputs, Override(FORCE, (), (6,))), moedesk.record(doge, tmp_path / "run.h5"):
        expected = run(doge, inputs)
    with on(doge, inputs, Override(OverrideKind.REPLAY, capture=str(tmp_path / "run.h5"))):
        assert torch.equal(run(doge, inputs), expected)
    assert not torch.equal(run(doge, inputs), expected)


def test_gradients_reach_doges_router_through_other_logits(doge: Any) -> None:
    """A temperature is a router with smaller weights: so are its gradients."""
    inputs, gate = {"input_ids": some_ids()}, doge.model.layers[0].mlp.router_gate
    found = []
    for temperature in (2.0, None):
        doge.zero_grad()
        if temperature is None:
            gate.weight.data /= 2
        given = () if temperature is None else (Override(TEMPERATURE, (0,), value=temperature),)
        with on(doge, inputs, *given):
            output = first_tensor(doge(**inputs))
            output.square().sum().backward()
        found.append((output.detach(), gate.weight.grad))
    gate.weight.data *= 2
    doge.zero_grad()
    (output, gradient), (expected, of_halved) = found
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, of_halved / 2, rtol=1e-4, atol=1e-6)
    assert gradient.abs().sum() > 0


def test_a_temperature_of_nllb_is_a_router_with_smaller_weights() -> None:
    """What runs there doesn't follow its router's choice, but its weights do."""
    family = FAMILIES["nllb_moe"]
    model, inputs = family.build(), family.arguments(some_ids())
    plain = run(model, inputs)
    with on(model, inputs, Override(TEMPERATURE, (), value=2.0)) as overrides:
        found = run(model, inputs)
        places = [binding.candidate.block for binding in overrides.layers.bindings]
        for kind in (EXCLUDE, FORCE):
            with pytest.raises(MoedeskError, match=r"which experts run doesn't$"):
                overrides.add(Override(kind, (0,), (3,)))
    for block in places:
        block.router.classifier.weight.data /= 2
    assert torch.equal(found, run(model, inputs))
    assert not torch.equal(found, plain)


def test_forcing_a_given_choice_is_giving_another_one() -> None:
    family = FAMILIES["vitpose_backbone"]
    model, inputs = family.build(), family.arguments(some_ids())
    with on(model, inputs, Override(FORCE, (), (2,))) as overrides:
        found = run(model, inputs)
        assert [overrides.acted(entry) for entry in overrides.entries] == [2 * 16]
        with pytest.raises(MoedeskError, match="which has no score"):
            overrides.add(Override(BIAS, (), (2,), 1.0))
    assert torch.equal(found, run(model, {**inputs, "dataset_index": torch.tensor([2, 2])}))


class OneTable(nn.Module):
    """A block that keeps its experts in one tensor, and chooses in its own forward."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 6, bias=False)
        self.stacked = nn.Parameter(torch.randn(6, 16, 16) / 4)

    def forward(self, hidden: Tensor) -> Tensor:
        rows = hidden.flatten(0, -2)
        self.logits = self.gate(rows)
        self.weights, self.ids = self.logits.softmax(-1).topk(2)
        return self.put(rows, self.ids, self.weights).view_as(hidden)

    def put(self, rows: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        return torch.einsum("nk,nkdh,nd->nh", weights, self.stacked[ids], rows)


class OneTableModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block = nn.Embedding(101, 16), OneTable()

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.block(self.embed(input_ids))  # type: ignore[no-any-return]


@pytest.mark.parametrize("right", [True, False])
def test_an_adapter_of_ones_own_says_how_its_block_selects(right: bool, request: Any) -> None:
    from moedesk.probe.adapters.registry import forget

    def select(block: Any, args: Any, kwargs: Any, output: Any, edit: Any) -> moedesk.Routing:
        weights, ids = edit(block.logits).softmax(-1).topk(2)
        return moedesk.Routing(ids, weights if right else weights * 2)

    def write(block: Any, args: Any, kwargs: Any, output: Any, routing: moedesk.Routing) -> Tensor:
        return block.put(args[0].flatten(0, -2), routing.ids, routing.weights).view_as(output)  # type: ignore[no-any-return]

    made = moedesk.adapter(
        "OneTable", n_experts=6, read=lambda block, *_: moedesk.Routing(block.ids, block.weights, block.logits),
        select=select, write=write,
    )  # fmt: skip
    request.addfinalizer(lambda: forget(made))
    torch.manual_seed(0)
    model, inputs = OneTableModel().eval(), {"input_ids": some_ids()}
    exclude = Override(EXCLUDE, (0,), (1,))
    if not right:
        with (
            pytest.raises(MoedeskError, match=r"select= gives another choice than the block"),
            on(model, inputs, exclude),
        ):
            pass
        return
    plain = run(model, inputs)
    with on(model, inputs, exclude):
        found = run(model, inputs)
    gate = model.block.gate
    gate.register_forward_hook(lambda module, args, output: output.index_fill(-1, torch.tensor([1]), -torch.inf))
    assert torch.equal(found, run(model, inputs))
    assert not torch.equal(found, plain)
