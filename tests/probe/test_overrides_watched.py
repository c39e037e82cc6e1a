"""Overrides on hand-written blocks that are watched: against their own code with other parameters, and identities."""

from pathlib import Path

import numpy as np
import pytest
import torch

import moedesk
from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from tests.support.hand_written import some_ids
from tests.support.watched_model import EVERY, SILENCED, flagged, rows_changed, tried

blocks = pytest.mark.parametrize("name", EVERY)


@pytest.mark.parametrize("name", [*EVERY, *SILENCED])
def test_ablating_changes_exactly_the_tokens_that_chose_the_expert(name: str) -> None:
    one = tried(name)
    expert, chose = one.favourite
    ablate = Override(OverrideKind.ABLATE, (0,), (expert,))
    with one.on(ablate):
        gathered, _, output = one.run()
        assert one.overrides.acted(one.overrides.entries[0]) == chose.sum()
    np.testing.assert_array_equal((output != one.block_output).any(-1).numpy(), chose)
    np.testing.assert_array_equal(flagged(gathered), chose)
    routes, plain = gathered.routes(0), one.plain.routes(0)
    np.testing.assert_array_equal(routes.experts, plain.experts)
    np.testing.assert_array_equal(routes.weights, np.where(plain.experts == expert, 0, plain.weights))
    assert torch.equal(one.run()[1], one.output)


@pytest.mark.parametrize("name", [*EVERY, *SILENCED])
def test_scaling_is_an_expert_whose_last_layer_is_larger(name: str) -> None:
    one = tried(name)
    expert, chose = one.favourite
    with one.on(Override(OverrideKind.SCALE, (0,), (expert,), 1.5)):
        gathered, _, output = one.run()
    experts = next(
        part for path, part in one.block.named_children() if path.endswith("experts") and "shared" not in path
    )
    kept = experts[expert].down.weight.data.clone()
    experts[expert].down.weight.data *= 1.5
    expected = one.run()[2]
    experts[expert].down.weight.data.copy_(kept)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(flagged(gathered), chose)


@blocks
def test_an_expert_that_nobody_chose_has_no_effect(name: str) -> None:
    one = tried(name)
    token = some_ids(1, 1)
    plain, output, _ = one.run(token)
    idle = next(expert for expert in range(6) if expert not in plain.routes(0).experts)
    for kind, value in ((OverrideKind.ABLATE, None), (OverrideKind.SCALE, 3.0)):
        with one.on(Override(kind, (0,), (idle,), value)):
            gathered, again, _ = one.run(token)
        assert torch.equal(again, output)
        assert not flagged(gathered).any()
    chosen = int(plain.routes(0).experts[0, 0])
    with one.on(Override(OverrideKind.ABLATE, (0,), (idle, chosen))):
        gathered, again, _ = one.run(token)
    assert not torch.equal(again, output)
    assert flagged(gathered).all()


@blocks
def test_a_temperature_is_a_router_with_smaller_weights(name: str) -> None:
    """Halving is exact, so the bits are the same."""
    one = tried(name)
    with one.on(Override(OverrideKind.TEMPERATURE, (0,), value=2.0)):
        gathered, output, _ = one.run()
    parameters = [
        one.weight,
        *(p for path, p in one.block.named_parameters() if path in ("router.bias", "switch.bias")),
    ]
    for parameter in parameters:
        parameter.data /= 2
    other, expected, _ = one.run()
    for parameter in parameters:
        parameter.data *= 2
    assert torch.equal(output, expected)
    np.testing.assert_array_equal(gathered.routes(0).weights, other.routes(0).weights)
    np.testing.assert_array_equal(gathered.routes(0).logits, other.routes(0).logits)
    np.testing.assert_array_equal(flagged(gathered), rows_changed(one.plain, other))
    assert flagged(gathered).any()


@blocks
def test_excluding_leaves_the_expert_out_and_forcing_brings_it_in(name: str) -> None:
    one = tried(name)
    expert, chose = one.favourite
    with one.on(Override(OverrideKind.EXCLUDE, (0,), (expert,))):
        gathered, _, output = one.run()
    routes, plain = gathered.routes(0), one.plain.routes(0)
    assert not (routes.experts == expert).any()
    np.testing.assert_array_equal(flagged(gathered), rows_changed(one.plain, gathered))
    assert flagged(gathered)[chose].all()
    assert (output != one.block_output).any(-1).numpy()[chose].all()
    least = int(np.bincount(plain.experts.ravel(), minlength=6)[:6].argmin())
    with one.on(Override(OverrideKind.FORCE, (0,), (least,))):
        gathered, _, _ = one.run()
    routes = gathered.routes(0)
    assert (routes.experts == least).any(1).all()
    same = (plain.experts == least).any(1)
    kept, before = routes.experts[same], plain.experts[same]
    if name == "BareRouter":  # it sorts all experts, and the forced one comes first
        kept, before = np.sort(kept), np.sort(before)
    np.testing.assert_array_equal(kept, before)
    np.testing.assert_array_equal(flagged(gathered), rows_changed(one.plain, gathered))


@pytest.mark.parametrize(("name", "bias"), [
    ("SortedTokens", "e_score_correction_bias"), ("DeepseekRemote", "gate.e_score_correction_bias"),
    ("OneHotProducts", "router.bias"), ("SwitchTopOne", "switch.bias"),
])  # fmt: skip
def test_excluding_is_a_bias_of_minus_infinity(name: str, bias: str) -> None:
    """The block's own untouched code leaves an expert out with a bias of -inf."""
    one = tried(name)
    expert, _ = one.favourite
    with one.on(Override(OverrideKind.EXCLUDE, (0,), (expert,))):
        output = one.run()[1]
    parameter = one.block.get_parameter(bias)
    kept = float(parameter.detach()[expert])
    parameter.data[expert] = -torch.inf
    expected = one.run()[1]
    parameter.data[expert] = kept
    assert torch.equal(output, expected)


@pytest.mark.parametrize(("name", "bias"), [("OneHotProducts", "router.bias"), ("SwitchTopOne", "switch.bias")])
def test_a_bias_on_the_logit_is_the_routers_own_bias(name: str, bias: str) -> None:
    one = tried(name)
    with one.on(Override(OverrideKind.BIAS, (0,), (2,), 0.5)):
        output = one.run()[1]
    parameter = one.block.get_parameter(bias)
    kept = parameter.detach().clone()
    parameter.data[2] += 0.5
    expected = one.run()[1]
    parameter.data.copy_(kept)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)


@blocks
def test_swapping_is_other_modules_in_these_places(name: str) -> None:
    one = tried(name)
    expert, _ = one.favourite
    other = (expert + 1) % 6
    with one.on(Override(OverrideKind.SWAP, (0,), (expert, other))):
        gathered, _, output = one.run()
    experts = next(
        part for path, part in one.block.named_children() if path.endswith("experts") and "shared" not in path
    )
    experts[expert], experts[other] = experts[other], experts[expert]
    _, _, expected = one.run()
    experts[expert], experts[other] = experts[other], experts[expert]
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)
    plain = one.plain.routes(0)
    swapped = np.where(plain.experts == expert, other, np.where(plain.experts == other, expert, plain.experts))
    np.testing.assert_array_equal(gathered.routes(0).experts, swapped)
    np.testing.assert_array_equal(gathered.routes(0).weights, plain.weights)
    np.testing.assert_array_equal(flagged(gathered), (swapped != plain.experts).any(1))


@blocks
def test_another_k_is_the_blocks_own_with_another_number(name: str) -> None:
    """Where the block has a number; else the best of what it ranks, by its own normalisation."""
    one = tried(name)
    number, own = 4, [part for part in one.block.modules() if vars(part).get("top_k") == 2]
    override = Override(OverrideKind.TOP_K, (0,), value=float(number))
    if name in ("BareRouter", "TopOne", "SwitchTopOne"):
        with pytest.raises(MoedeskError, match=r"could be set|goes on with") as caught:
            one.overrides.add(override)
        assert "\n" not in str(caught.value)
        return
    with one.on(override):
        gathered, _, output = one.run()
    routes, plain = gathered.routes(0), one.plain.routes(0)
    assert routes.experts.shape == (18, number)
    assert flagged(gathered).all()
    assert all(set(few) < set(many) for few, many in zip(plain.experts, routes.experts, strict=True))
    for part in own:
        part.top_k = number
    if own:
        expected = one.run()[2]
        for part in own:
            part.top_k = 2
        assert torch.equal(output, expected)
    else:
        assert name == "OneHotProducts"
        np.testing.assert_allclose(routes.weights.sum(1), 1, rtol=1e-6)
    assert torch.equal(one.run()[1], one.output)


@blocks
def test_capacity_keeps_the_first_slots_of_each_expert(name: str) -> None:
    one = tried(name)
    with one.on(Override(OverrideKind.CAPACITY, (0,), value=0.5)):
        gathered, _, output = one.run()
    plain, routes = one.plain.routes(0), gathered.routes(0)
    slots, experts = plain.experts.shape[1], len(plain.counts)
    room, given = -(-18 * slots * 0.5 // experts), dict.fromkeys(range(experts), 0)
    dropped = np.zeros(18, bool)
    for row, chosen in enumerate(plain.experts):
        for slot, expert in enumerate(chosen.tolist()):
            given[expert] += 1
            kept = given[expert] <= room
            dropped[row] |= not kept
            assert routes.experts[row, slot] == (expert if kept else -1)
            assert routes.weights[row, slot] == (plain.weights[row, slot] if kept else 0)
    assert dropped.any()
    np.testing.assert_array_equal((output != one.block_output).any(-1).numpy(), dropped)
    np.testing.assert_array_equal(flagged(gathered), dropped)


@blocks
@pytest.mark.parametrize("kind", [OverrideKind.EXCLUDE, OverrideKind.CAPACITY])
def test_a_replayed_capture_gives_the_same_bits(name: str, kind: OverrideKind, tmp_path: Path) -> None:
    """Recorded while something acted, replayed without it."""
    one = tried(name)
    expert, _ = one.favourite
    value = 0.5 if kind is OverrideKind.CAPACITY else None
    acting = Override(kind, (0,), (expert,) if kind.names_experts else (), value)
    with one.on(acting), torch.no_grad(), moedesk.record(one.model, tmp_path / "run.h5"):
        expected = one.model(some_ids())
    with one.on(Override(OverrideKind.REPLAY, capture=str(tmp_path / "run.h5"), weights=True)), torch.no_grad():
        found = one.model(some_ids())
    assert torch.equal(found, expected)
    assert not torch.equal(found, one.output)
