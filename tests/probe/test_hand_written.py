"""Hand-written blocks, with no line of declaration: against what they say, which expert ran on which rows, and a replay."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from tests.support.gathered import Gathered, dense, gather
from tests.support.hand_written import BLOCKS, WIDTH, HandWritten, Small, some_ids

MODES = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode, "grad": torch.enable_grad}


def blocks_of(model: nn.Module) -> list[HandWritten]:
    return [module for module in model.modules() if isinstance(module, HandWritten)]


def check(model: nn.Module, gathered: Gathered, passes: int, rtol: float = 0) -> None:
    """The capture has what the blocks said, slot by slot but for their order."""
    assert len(gathered.batches) == passes
    for place, block in enumerate(blocks_of(model)):
        assert gathered.model.layers[place].block == type(block).__name__
        for turn, (ids, weights) in enumerate(block.said[-passes:]):
            routes = gathered.routes(place, turn)
            number = len(block.experts)
            expected = dense(ids.numpy(), weights.float().numpy(), number)
            np.testing.assert_allclose(dense(routes.experts, routes.weights, number), expected, rtol=rtol)
            np.testing.assert_array_equal(routes.counts, (~np.isnan(expected)).sum(0))
            assert not routes.flags.any()


def hooks_left(model: nn.Module) -> bool:
    return any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", BLOCKS)
def test_it_is_read_as_it_says(name: str, mode: str) -> None:
    model = Small(BLOCKS[name]).eval()
    inputs = [some_ids(seed=seed, length=length) for seed, length in ((1, 9), (2, 9), (3, 1), (4, 30))]
    with MODES[mode]():
        plain = [model(ids) for ids in inputs]
    recording, gathered = gather(model, logits=True)
    with MODES[mode](), recording:
        outputs = [model(ids) for ids in inputs]
    assert all(torch.equal(one, other) for one, other in zip(plain, outputs, strict=True))
    assert gathered.notes == []
    check(model, gathered, len(inputs))
    assert not hooks_left(model)
    assert torch.overrides._get_current_function_mode() is None


@pytest.mark.parametrize("name", BLOCKS)
def test_the_experts_ran_on_just_these_rows_and_their_sum_is_the_blocks_output(name: str) -> None:
    """Independent of what the block says: hooks of the test's own see every expert's rows and the block's output."""
    model = Small(BLOCKS[name], layers=1).eval()
    (block,) = blocks_of(model)
    ran: list[tuple[int, Tensor]] = []
    kept: list[tuple[Tensor, Tensor]] = []
    ids = torch.arange(20).view(2, 10)  # rows that all differ
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        model(ids)
        for number, expert in enumerate(block.experts):
            expert.register_forward_pre_hook(lambda m, args, n=number: ran.append((n, args[0].reshape(-1, WIDTH))))
        block.register_forward_hook(lambda m, args, output: kept.append((args[0], output)))
        model(ids)
    hidden, output = (value[0] if isinstance(value, tuple) else value for value in kept[-1])
    hidden, output = hidden.reshape(-1, WIDTH), output.reshape(-1, WIDTH)
    routes = gathered.routes(0, 1)
    expected = torch.zeros(20, len(block.experts), dtype=torch.bool)
    for number, rows in ran:
        for row in rows:
            expected[(hidden == row).all(-1).nonzero().item(), number] = True
    chosen = ~np.isnan(dense(routes.experts, routes.weights, len(block.experts)))
    if name == "AllExpertsRun":
        assert expected.all()
        assert (chosen.sum(-1) == 2).all()
    else:
        np.testing.assert_array_equal(chosen, expected.numpy())
    layer = gathered.model.layers[0]
    rebuilt = torch.zeros_like(output)
    with torch.no_grad():
        for row in range(20):
            for expert, weight in zip(routes.experts[row], routes.weights[row], strict=True):
                rebuilt[row] += layer.post_scale * float(weight) * block.experts[expert](hidden[row])
        if layer.shared:
            rebuilt += block.shared_experts(hidden)
        if name == "AllExpertsRun":
            rebuilt += hidden
    torch.testing.assert_close(rebuilt, output, rtol=1e-4, atol=1e-5)


def test_a_block_alone_is_a_model_too() -> None:
    torch.manual_seed(0)
    block = BLOCKS["LoopOverExperts"]().eval()
    hidden = torch.randn(2, 5, WIDTH)
    recording, gathered = gather(block)
    with torch.no_grad(), recording:
        block(hidden)
        block(hidden_states=hidden)
    check(block, gathered, 2)
    assert gathered.model.layers[0].experts_path == "experts"


@pytest.mark.parametrize("name", BLOCKS)
def test_bfloat16(name: str) -> None:
    model = Small(BLOCKS[name]).to(torch.bfloat16).eval()
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        model(some_ids())
        model(some_ids(seed=9))
    check(model, gathered, 2)


@pytest.mark.parametrize("name", BLOCKS)
def test_training_takes_another_way_and_is_watched_again(name: str) -> None:
    model = Small(BLOCKS[name]).eval()
    recording, gathered = gather(model, logits=True)
    with recording:
        for training in (False, True, True, False, True):
            model.train(training)
            loss = model(some_ids()).float().pow(2).mean()
            loss.backward()
    check(model, gathered, 5)
    assert gathered.notes == []


def scores(name: str) -> str:
    return {"SortedTokens": "sigmoid+bias", "MaskedLoop": "logits"}.get(name, "softmax")


@pytest.mark.parametrize("name", BLOCKS)
def test_score_margin_and_entropy(name: str) -> None:
    model = Small(BLOCKS[name], layers=1).eval()
    (block,) = blocks_of(model)
    recording, gathered = gather(model, logits=True)
    with torch.no_grad(), recording:
        model(some_ids())
        model(some_ids())
        rows = nn.functional.layer_norm(model.embed(some_ids()), (WIDTH,)).reshape(-1, WIDTH)
        logits = rows @ block.gate.weight.t()
    layer = gathered.model.layers[0]
    assert layer.score == scores(name)
    assert layer.shared == (name == "SortedTokens")
    assert layer.adapter == "watched block"
    rank = {
        "softmax": logits.softmax(-1),
        "logits": logits,
        "sigmoid+bias": logits.sigmoid() + getattr(block, "e_score_correction_bias", 0),
    }[layer.score].detach()
    ordered = np.sort(rank.numpy(), axis=1)[:, ::-1]
    share = logits.softmax(-1).numpy().astype(np.float64)
    for turn in range(2):
        routes = gathered.routes(0, turn)
        np.testing.assert_allclose(routes.logits, logits.numpy(), rtol=1e-5, atol=1e-6)
        k = block.top_k
        np.testing.assert_allclose(routes.margin, ordered[:, k - 1] - ordered[:, k], rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(routes.entropy, -(share * np.log(share)).sum(1), rtol=1e-4)


class Scrambled(HandWritten):
    """Weights that are no tensor: moedesk must not guess."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, WIDTH)
        output = torch.zeros_like(rows)
        for row in range(len(rows)):
            for number in np.argsort(self.gate(rows[row]).detach().numpy())[-2:]:
                output[row] += float(self.gate.weight[number, 0]) * self.experts[number](rows[row])
        return output.view_as(x)


def test_what_cant_be_told_is_refused_by_name() -> None:
    model = Small(Scrambled).eval()
    with torch.no_grad():
        plain = model(some_ids())
    recording, gathered = gather(model)
    with warnings.catch_warnings(), torch.no_grad(), recording:
        warnings.simplefilter("ignore")
        assert torch.equal(model(some_ids()), plain)
        assert torch.equal(model(some_ids()), plain)
    assert gathered.batches == []
    line = next(note for note in gathered.notes if "layers.1.moe" in note)
    assert "how Scrambled routes can't be told" in line
    assert "moedesk.adapter('Scrambled'" in line
    assert not hooks_left(model)


class OtherWays(HandWritten):
    """Takes another way when it is told to."""

    def forward(self, x: Tensor) -> Tensor:
        logits = self.gate(x.reshape(-1, WIDTH))
        if getattr(self, "other", False):
            logits = (-logits).clone()
        weights, ids = logits.softmax(-1).topk(2)
        self.say(ids, weights)
        output = torch.zeros_like(x.reshape(-1, WIDTH))
        for number, expert in enumerate(self.experts):
            rows, slot = torch.where(ids == number)
            output[rows] += weights[rows, slot, None] * expert(x.reshape(-1, WIDTH)[rows])
        return output.view_as(x)


def test_a_call_that_takes_another_way_is_left_out_and_the_next_one_watched() -> None:
    model = Small(OtherWays, layers=1).eval()
    (block,) = blocks_of(model)
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        model(some_ids())
        model(some_ids())
        block.other = True  # type: ignore[assignment]
        for _ in range(3):
            model(some_ids())
    assert [len(batch.layers) for batch in gathered.batches] == [1, 1, 0, 1, 1]
    for turn in (0, 1, 3, 4):
        ids, weights = block.said[turn]
        np.testing.assert_array_equal(gathered.routes(0, turn).experts, ids.numpy())
        np.testing.assert_array_equal(gathered.routes(0, turn).weights, weights.numpy())
    assert gathered.notes == ["layers.0.moe: one call took another way than those before and is left out"]


def test_ways_that_are_known_stay_known() -> None:
    """As a block that treats a single token of its own: only the first call of each way is lost."""
    model = Small(OtherWays, layers=1).eval()
    (block,) = blocks_of(model)
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        for other in (False, True, True, False, True, False):
            block.other = other  # type: ignore[assignment]
            model(some_ids())
    assert [len(batch.layers) for batch in gathered.batches] == [1, 0, 1, 1, 1, 1]
    for turn in (0, 2, 3, 4, 5):
        np.testing.assert_array_equal(gathered.routes(0, turn).experts, block.said[turn][0].numpy())


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_counts_nothing_twice(reentrant: bool) -> None:
    model: Any = Small(lambda: Checkpointed(BLOCKS["LoopOverExperts"](), reentrant)).train()
    recording, gathered = gather(model)
    with recording:
        for _ in range(3):
            model(some_ids()).pow(2).mean().backward()
    assert len(gathered.batches) == 3
    assert all([routes.counts.sum() for routes in batch.layers] == [36, 36] for batch in gathered.batches)
    assert torch.overrides._get_current_function_mode() is None


class Checkpointed(nn.Module):
    def __init__(self, inner: nn.Module, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, x: Tensor) -> Any:
        return torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=self.reentrant)


def test_an_interrupt_leaves_no_mode_behind() -> None:
    model: Any = Small(BLOCKS["LoopOverExperts"]).eval()
    recording, gathered = gather(model)

    def interrupt(module: nn.Module, args: Any) -> None:
        raise KeyboardInterrupt

    with torch.no_grad(), recording:
        for _ in range(2):
            handles = [expert.register_forward_pre_hook(interrupt) for expert in model.layers[0].moe.experts]
            with pytest.raises(KeyboardInterrupt):
                model(some_ids())
            for handle in handles:
                handle.remove()
            model(some_ids())
    assert torch.overrides._get_current_function_mode() is None
    whole = [turn for turn, batch in enumerate(gathered.batches) if len(batch.layers) == 2]
    assert len(whole) == 2
    for place in range(2):
        for turn, number in zip(whole, (1, 3) if place == 0 else (0, 1), strict=True):
            np.testing.assert_array_equal(
                gathered.routes(place, turn).experts, model.layers[place].moe.said[number][0].numpy()
            )
    assert not hooks_left(model)
