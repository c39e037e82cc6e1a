"""Overrides on watched blocks: some tokens, phases, training, gradients, errors, recordings begun meanwhile, and their code."""

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import moedesk
from moedesk.core.columns import RouteFlag
from moedesk.core.override import Override, OverrideKind
from moedesk.core.override_code import as_python
from moedesk.core.verification import Verdict
from moedesk.probe.adapters.registry import declared, forget
from moedesk.probe.exactness.verify import verify
from moedesk.probe.overriding.before_after import before_after
from moedesk.probe.overriding.layers import Layers
from moedesk.probe.overriding.overrides import Overrides
from moedesk.probe.overriding.registry import overrides_of
from tests.support.console import Letters
from tests.support.gathered import gather
from tests.support.hand_written import WIDTH, HandWritten, LoopOverExperts, Small, some_ids
from tests.support.more_hand_written import MORE, DeepseekRemote, GatedShared
from tests.support.watched_model import EVERY, SILENCED, flagged, pristine, rows_changed, tried

ABLATE, EXCLUDE, BIAS = OverrideKind.ABLATE, OverrideKind.EXCLUDE, OverrideKind.BIAS
ONE_OF_EACH = ("LoopOverExperts", "MaskedLoop", "OwnGate", "DeepseekRemote")


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("kind", [ABLATE, EXCLUDE])
def test_only_some_columns(name: str, kind: OverrideKind) -> None:
    one = tried(name)
    expert, chose = one.favourite
    columns = np.tile(np.arange(9), 2)
    there = (columns >= 2) & (columns < 5)
    assert (chose & there).any()
    assert (chose & ~there).any()
    with one.on(Override(kind, (0,), (expert,), columns=(2, 5))):
        gathered, _, output = one.run()
    marked = flagged(gathered)
    np.testing.assert_array_equal(marked & chose, chose & there)
    assert not marked[~there].any()  # where an expert is excluded, others of these rows may have larger shares
    assert kind is EXCLUDE or not marked[~chose].any()
    changed = ~torch.isclose(output, one.block_output, rtol=1e-5, atol=1e-7).all(-1).numpy()
    np.testing.assert_array_equal(changed & chose, chose & there)
    assert not changed[~marked].any()
    assert ((gathered.routes(0).experts == expert).any(1) == (chose & ~there if kind is EXCLUDE else chose)).all()


def test_only_passes_of_a_phase() -> None:
    one = tried("LoopOverExperts")
    expert, _ = one.favourite
    with one.on(Override(ABLATE, (0,), (expert,), phases=("train",))):
        assert torch.equal(one.run()[1], one.output)
        one.model.train()
        try:
            recording, gathered = gather(one.model)
            with recording:
                one.model(some_ids())
        finally:
            one.model.eval()
    assert (gathered.routes(0).flags & RouteFlag.OVERRIDDEN != 0).any()


@pytest.mark.parametrize("name", [*EVERY, *SILENCED])
def test_in_training_too_and_gradients_flow(name: str) -> None:
    """An expert counts once as before, so that all is written again: gradients are those of the plain block, router included."""
    one, found = tried(name), []
    one.model.train()
    try:
        for overrides in ([], [Override(OverrideKind.SCALE, (), (0,), 1.0)]):
            one.model.zero_grad()
            with one.on(*overrides):
                torch.manual_seed(3)
                output = one.model(some_ids())
                output.square().sum().backward()
                assert all(one.overrides.acted(entry) == 0 for entry in one.overrides.entries)
            gradients = {key: part.grad.clone() for key, part in one.model.named_parameters() if part.grad is not None}
            found.append({"output": output.detach().clone(), **gradients})
    finally:
        one.model.eval()
        one.model.zero_grad()
    plain, again = found
    assert torch.equal(plain["output"], again["output"])
    assert plain.keys() == again.keys()
    for key in plain:
        torch.testing.assert_close(again[key], plain[key])


def test_gradients_reach_the_router_through_a_changed_score() -> None:
    one = tried("GatedShared")
    expert, _ = one.favourite
    one.model.zero_grad()
    with one.on(Override(EXCLUDE, (0,), (expert,))):
        one.model(some_ids()).square().sum().backward()
    gradient = one.block.gate.weight.grad
    one.model.zero_grad()
    assert gradient[expert].abs().sum() == 0  # its share is none
    assert (gradient.abs().sum(1) > 0).sum() == 7


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("kind", [ABLATE, EXCLUDE])
def test_what_an_expert_raises_leaves_no_mode_behind(kind: OverrideKind, error: type[BaseException]) -> None:
    one = tried("LoopOverExperts")
    expert, _ = one.favourite

    def fail(module: nn.Module, args: Any) -> None:
        raise error("in the middle")

    with one.on(Override(kind, (0,), (expert,))):
        with_it = one.run()[1]
        handle = one.block.experts[(expert + 1) % 8].register_forward_pre_hook(fail)
        with pytest.raises(error, match="in the middle"), torch.no_grad():
            one.model(some_ids())
        handle.remove()
        assert torch.overrides._get_current_function_mode() is None
        assert torch.equal(one.run()[1], with_it)
    assert torch.equal(one.run()[1], one.output)


@pytest.mark.parametrize("kind", [ABLATE, EXCLUDE, OverrideKind.TEMPERATURE, OverrideKind.SWAP])
@pytest.mark.parametrize("name", ["AllExpertsRun", "MaskedLoop", "SortedTokens"])
def test_what_is_attached_meanwhile_reads_the_block_as_it_is(name: str, kind: OverrideKind) -> None:
    """A layer that is found while its routing is changed is described as without that."""
    one = tried(name)
    expert, _ = one.favourite
    experts = (expert, (expert + 1) % 6) if kind is OverrideKind.SWAP else (expert,) if kind.names_experts else ()
    with one.on(Override(kind, (0,), experts, None if experts else 2.0)):
        first, _, _ = one.run()
        recording, again = gather(one.model, logits=True)
        with recording, torch.no_grad():
            one.model(some_ids())
            one.model(some_ids())
    assert first.model.layers == one.plain.model.layers
    for turn in range(2):  # the first call is watched, the next one read at known places
        np.testing.assert_array_equal(again.routes(0, turn).experts, first.routes(0).experts)
        np.testing.assert_array_equal(again.routes(0, turn).weights, first.routes(0).weights)
        np.testing.assert_array_equal(again.routes(0, turn).logits, first.routes(0).logits)
    np.testing.assert_array_equal(first.routes(0).experts == -1, one.plain.routes(0).experts == -1)


class OtherWays(GatedShared):
    """Takes other operations when it is told to, before its choice or after it."""

    other = ""

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        if self.other == "before":
            hidden_states = hidden_states.clone().contiguous().neg().neg()
        return super().forward(hidden_states)


def test_a_call_that_takes_another_way_runs_untouched_and_that_is_noted() -> None:
    model: Any = Small(OtherWays, layers=1).eval()
    overrides = overrides_of(model)
    with torch.no_grad():
        plain = model(some_ids())
        overrides.add(Override(ABLATE, (0,), tuple(range(8))))
        assert not torch.equal(model(some_ids()), plain)
        model.layers[0].moe.other = "before"
        assert torch.equal(model(some_ids()), plain)
    assert overrides.notes == (
        "ablate experts 0–7 in layer 0: it doesn't act on layers.0.moe in some calls, which select in another way",
    )
    overrides.close()
    assert pristine(model)


class Between(HandWritten):
    """Takes another operation, when it is told to, after its choice and before its weights."""

    other = False

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, WIDTH)
        weights, ids = self.gate(rows).softmax(-1).topk(2)
        if self.other:
            weights = weights.clone()
        weights = weights / weights.sum(-1, keepdim=True)
        output = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            token, slot = torch.where(ids == number)
            output[token] += weights[token, slot, None] * expert(rows[token])
        return output.view_as(x)


@pytest.mark.parametrize("override", [Override(OverrideKind.SWAP, (0,), (1, 2)), Override(EXCLUDE, (0,), (1,))])
def test_nothing_is_changed_by_halves(override: Override) -> None:
    """Ids were changed already when the block went on with other operations: it runs again, as it is."""
    model: Any = Small(Between, layers=1).eval()
    overrides = overrides_of(model)
    with torch.no_grad():
        plain = model(some_ids())
        overrides.add(override)
        assert not torch.equal(model(some_ids()), plain)
        model.layers[0].moe.other = True
        assert torch.equal(model(some_ids()), plain)
    assert len(overrides.notes) == 1
    assert "in some calls, which select in another way" in overrides.notes[0]
    assert torch.overrides._get_current_function_mode() is None
    overrides.close()


@pytest.mark.parametrize("name", ["LoopOverExperts", "SortedTokens", "OneHotProducts", "DeepseekRemote"])
def test_bfloat16(name: str) -> None:
    model: Any = Small(EVERY[name], layers=1).to(torch.bfloat16).eval()
    overrides = Overrides(model, Layers(model))
    recording, plain = gather(model)
    with torch.no_grad(), recording:
        output = model(some_ids())
    expert = int(np.bincount(plain.routes(0).experts.ravel()).argmax())
    for override in (Override(ABLATE, (0,), (expert,)), Override(EXCLUDE, (0,), (expert,))):
        overrides.add(override)
        recording, gathered = gather(model)
        with torch.no_grad(), recording:
            assert not torch.equal(model(some_ids()), output)
        chose = (plain.routes(0).experts == expert).any(1)
        np.testing.assert_array_equal(flagged(gathered), rows_changed(plain, gathered))
        assert flagged(gathered)[chose].all()
        assert override.kind is EXCLUDE or not flagged(gathered)[~chose].any()
        overrides.clear()
    overrides.close()


@pytest.fixture
def no_adapter_stays() -> Iterator[None]:
    yield
    for adapter in declared():
        forget(adapter)


def test_a_gate_that_is_declared_is_overridden_by_watching(no_adapter_stays: None) -> None:
    """An adapter that reads and can't write: its experts are modules, so that writing is found out."""
    moedesk.adapter("DeepseekRemote", router="gate", experts="experts")
    model: Any = Small(DeepseekRemote, layers=1).eval()
    overrides = overrides_of(model)
    with torch.no_grad():
        plain = model(some_ids())
        recording, before = gather(model)
        with recording:
            model(some_ids())
        expert = int(np.bincount(before.routes(0).experts.ravel()).argmax())
        overrides.add(Override(OverrideKind.SWAP, (0,), (expert, (expert + 1) % 8)))
        recording, after = gather(model)
        with recording:
            assert not torch.equal(model(some_ids()), plain)
    overrides.close()
    assert after.model.layers[0].adapter == "DeepseekRemote"
    np.testing.assert_array_equal(after.routes(0).experts == (expert + 1) % 8, before.routes(0).experts == expert)
    assert flagged(after).any()


@pytest.mark.parametrize("name", MORE)
def test_contributions_and_shared_experts_are_the_blocks_output(name: str) -> None:
    """By the self-test: each expert alone on the rows that chose it, with the weights that were captured."""
    found = verify(Small(MORE[name]).eval())
    assert found.verdict is Verdict.VERIFIED, found
    assert found.summary == "verified 2 of 2 layers"


@pytest.mark.parametrize("name", [*EVERY, *SILENCED])
def test_the_copied_code_does_the_same(name: str) -> None:
    """Without moedesk: executed where only ``model`` is, then taken back."""
    one = tried(name)
    expert, _ = one.favourite
    for override in (
        Override(ABLATE, (), (expert,)),
        Override(OverrideKind.SCALE, (0,), (expert, (expert + 1) % 6), 1.5),
    ):
        with one.on(override):
            expected = one.run()[1]
        code = as_python([override], one.overrides.info)
        assert "moedesk" not in code
        names: dict[str, Any] = {"model": one.model}
        exec(code, names)
        try:
            found = one.run()[1]
        finally:
            for take_back in names["undo"]:
                take_back()
        assert pristine(one.model)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        assert not torch.equal(found, one.output)
    code = as_python([Override(EXCLUDE, (0,), (expert,))], one.overrides.info)
    assert "moedesk does it" in code
    exec(code, {"model": one.model})


def test_the_list_undoes_and_compares_before_and_after() -> None:
    model: Any = Small(LoopOverExperts).eval()
    model.embed, model.head = nn.Embedding(101, 16), nn.Linear(16, 101)
    overrides = overrides_of(model)
    ids = some_ids()
    with torch.no_grad():
        plain = model(ids)
        overrides.add(Override(EXCLUDE, (), (0, 1, 2)))
        changed = model(ids)
        overrides.undo()
        assert torch.equal(model(ids), plain)
        overrides.redo()
        assert torch.equal(model(ids), changed)
    found = before_after(overrides, Letters(), "where tokens go", max_new_tokens=4)
    assert not np.allclose(found.before[1:], found.after[1:])
    assert all(counts[:3].sum() > 0 for counts in found.counts_before)
    assert all(counts[:3].sum() == 0 and counts.sum() > 0 for counts in found.counts_after)
    overrides.close()
    assert pristine(model)


def test_a_model_that_was_overridden_goes_when_it_is_let_go_of() -> None:
    model: Any = Small(EVERY["SortedTokens"], layers=1).eval()  # its block has the bias
    overrides_of(model).add(Override(EXCLUDE, (0,), (1,)))
    overrides_of(model).close()
    gone = weakref.ref(model.layers[0].moe)
    del model
    gc.collect()
    assert gone() is None


def test_only_blocks_that_are_overridden_are_studied() -> None:
    model: Any = Small(LoopOverExperts).eval()
    overrides = overrides_of(model)
    override = Override(ABLATE, (1,), (2,))
    assert overrides.info.layers
    calls: list[int] = []
    handles = [
        layer.moe.register_forward_pre_hook(lambda module, args, place=place: calls.append(place))
        for place, layer in enumerate(model.layers)
    ]
    assert not overrides.layers.knows(override)
    overrides.add(override)
    assert overrides.layers.knows(override)
    assert calls.count(0) == 1
    assert calls.count(1) > 5
    overrides.close()
    for handle in handles:
        handle.remove()
