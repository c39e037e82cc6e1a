"""What a stop can change in hand-written blocks, which are watched: against their experts, and the same block edited by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from moedesk.core.columns import RouteFlag
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.overriding.registry import overrides_of
from tests.support.gathered import gather
from tests.support.hand_written import WIDTH, LoopOverExperts, Small, some_ids
from tests.support.stopping import PlayedApp, attached_to
from tests.support.watched_model import EVERY, SILENCED, pristine

ROW = 4


def small(name: str) -> Any:
    return Small({**EVERY, **SILENCED}[name], layers=1).eval()


def block_of(model: Any) -> Any:
    return model.layers[0].moe


def experts_of(model: Any) -> Any:
    return next(p for path, p in block_of(model).named_children() if path.endswith("experts") and "shared" not in path)


class Calls:
    """Inputs and outputs of a block, a row a token; where it is studied, also of these calls."""

    def __init__(self, model: Any) -> None:
        self.given: list[Tensor] = []
        self.output: list[Tensor] = []
        self._handle = block_of(model).register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, args: Any, output: Any) -> None:
        self.given.append(args[0].reshape(-1, WIDTH).detach().clone())
        output = output[0] if isinstance(output, tuple) else output
        self.output.append(output.reshape(-1, WIDTH).detach().clone())

    def remove(self) -> None:
        self._handle.remove()


def other_expert(ids: Tensor) -> int:
    return next(expert for expert in range(6) if expert not in ids)


TYPED = {
    "an expert": "ids[0] = other(ids)",
    "a weight": "weights[0] = 0.875",
    "no expert": "ids[0] = -1",
    "both": "ids[0] = other(ids); weights = weights * 0.5",
}


@pytest.mark.parametrize(
    ("name", "typed"),
    [*((name, "both") for name in EVERY), ("LoopOverExperts", "an expert"), ("OwnGate", "a weight")]
    + [(name, "no expert") for name in ("SortedTokens", "OwnGate", "GatedShared")],
)
@torch.no_grad()
def test_what_is_changed_is_what_its_experts_do(name: str, typed: str) -> None:
    """The block's output at the token changes by weight times expert, of its own modules; other rows keep their bits."""
    model, app = small(name), PlayedApp({"other": other_expert})
    with attached_to(app, model) as (attachment, gathered):
        calls = Calls(model)
        model(some_ids())
        app.break_on("layer:0 position:4 sequence:2")
        app.at_stop = lambda breakpoints, stop: exec(TYPED[typed], app.namespace)
        recording, begun = gather(model, logits=True)  # its first call is watched from beginning to end
        with recording:
            model(some_ids())
            model(some_ids())  # and this one is read where that found the routing
        calls.remove()
        scale = attachment.bindings[0].layer.post_scale or 1.0
        assert not begun.notes
    (stop,) = app.stops
    row = stop["token"]["row"]
    before, after = gathered.routes(0, 0), gathered.routes(0, 1)
    given, experts = calls.given[-2][row], experts_of(model)

    def made(routes: Any) -> Tensor:
        slots = list(zip(routes.experts[row].tolist(), routes.weights[row].tolist(), strict=True))
        assert all(weight == 0 for expert, weight in slots if expert < 0)
        return sum((weight * experts[expert](given[None])[0] for expert, weight in slots), torch.zeros(WIDTH)) * scale

    assert after.experts[row].tolist() != before.experts[row].tolist() or typed == "a weight"
    assert set(after.weights[row]) != set(before.weights[row]) or typed == "an expert"
    expected = calls.output[0][row] - made(before) + made(after)
    torch.testing.assert_close(calls.output[-2][row], expected, rtol=1e-4, atol=1e-6)
    assert not torch.equal(calls.output[-2][row], calls.output[0][row])
    others = np.arange(len(calls.given[0])) != row
    torch.testing.assert_close(calls.output[-2][others], calls.output[0][others], rtol=1e-6, atol=1e-7)
    assert torch.equal(calls.output[-1], calls.output[0])
    np.testing.assert_array_equal(begun.routes(0, 1).weights, before.weights)
    for routes in (after, begun.routes(0)):
        assert np.flatnonzero(routes.filled().flags & RouteFlag.OVERRIDDEN).tolist() == [row]
        np.testing.assert_array_equal(routes.experts, after.experts)
        np.testing.assert_array_equal(routes.weights, after.weights)
    assert pristine(model)


class Edited(LoopOverExperts):
    """The same block, with lines of its own behind its choice."""

    edited = False

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        if not self.edited:
            return super().forward(hidden_states)
        hidden = hidden_states * torch.empty_like(hidden_states).uniform_(0.9, 1.1)
        hidden = hidden.view(-1, WIDTH)
        logits = self.gate(hidden)
        weights, ids = torch.topk(functional.softmax(logits, dim=1, dtype=torch.float), self.top_k, dim=-1)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        here = (torch.arange(len(ids)) == ROW)[:, None]
        ids = torch.where(here, ids.flip(1), ids)
        weights = torch.where(here & torch.tensor([False, True]), 0.125, weights)
        final = torch.zeros_like(hidden)
        for number, expert in enumerate(self.experts):
            slot, rows = torch.where((ids == number).T)
            if rows.numel():
                final.index_add_(0, rows, expert(hidden[rows]) * weights[rows, slot, None])
        return final.view_as(hidden_states), logits


def edit(app: PlayedApp) -> None:
    app.at_stop = lambda breakpoints, stop: exec("ids = ids.flip(0); weights[1] = 0.125", app.namespace)


def step(model: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a step and its gradients; the block's noise is the same each time."""
    torch.manual_seed(3)
    model.zero_grad()
    loss = model(some_ids()).logsumexp(-1).mean()
    loss.backward()
    return loss, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_it_is_the_block_edited_by_hand_in_training_too() -> None:
    model, app = Small(Edited, layers=1).eval(), PlayedApp()
    with attached_to(app, model):
        model(some_ids())
        model.train()
        _, plain = step(model)  # the first call in training is watched from beginning to end
        point = app.break_on(f"layer:0 position:{ROW}", condition=f"row == {ROW}")
        step(model)
        edit(app)
        loss, found = step(model)
        point.remove()
        assert len(app.stops) == 2
    block_of(model).edited = True
    expected, gradients = step(model)
    assert torch.equal(loss, expected)
    assert found.keys() == gradients.keys()
    assert all(torch.equal(found[name], gradients[name]) for name in found)
    assert not all(torch.equal(found[name], plain[name]) for name in found)
    assert pristine(model)


class Counting(LoopOverExperts):
    """It counts its calls in a buffer before it routes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return super().forward(hidden_states)


class Checkpointed(Small):
    """A model whose block is computed again in the backward pass."""

    def forward(self, idx: Tensor) -> Tensor:
        hidden = self.embed(idx)
        return self.head(hidden + checkpoint(self.layers[0]["moe"], hidden, use_reentrant=False)[0])


REFUSED: dict[str, Any] = {
    "it writes into a buffer": (
        lambda: Small(Counting, layers=1),
        "it wrote into its calls before, and would do so again",
    ),
    "overrides": (
        lambda: Small(LoopOverExperts, layers=1),
        "overrides act on it; switch them off first, or add one more",
    ),
    "checkpointing": (
        lambda: Checkpointed(LoopOverExperts, layers=1),
        "gradient checkpointing would compute it again without the change",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_go_wrong_is_refused_by_name(case: str, capsys: Any) -> None:
    model, says = REFUSED[case]
    model, app = model().eval(), PlayedApp()
    with attached_to(app, model), torch.set_grad_enabled(case == "checkpointing"):
        model(some_ids())
        overrides = overrides_of(model)
        if case == "overrides":
            overrides.add(Override(OverrideKind.ABLATE, layers=(0,), experts=(2,)))
        app.break_on("layer:0")
        plain = model(some_ids())
        edit(app)
        found = model(some_ids())
        overrides.close()
    assert len(app.stops) == 2
    assert torch.equal(found, plain)
    assert says in capsys.readouterr().out
    assert pristine(model)


@pytest.mark.parametrize("leaves", ["remove", "detach", "interrupt"])
@pytest.mark.parametrize("name", ["LoopOverExperts", "OwnGate"])
@torch.no_grad()
def test_nothing_stays_when_it_ends_at_the_stop(name: str, leaves: str) -> None:
    model, app = small(name), PlayedApp()

    def leave(breakpoints: Any, stop: Any) -> None:
        exec("weights[0] = 0.875", app.namespace)
        if leaves == "remove":
            breakpoints.clear()
        elif leaves == "detach":
            attachment.detach()
        else:
            raise KeyboardInterrupt

    with attached_to(app, model) as (attachment, _):
        plain = model(some_ids())
        app.break_on("layer:0 position:4 sequence:2")
        app.at_stop = leave
        if leaves == "interrupt":
            with pytest.raises(KeyboardInterrupt):
                model(some_ids())
        else:
            assert not torch.equal(model(some_ids()), plain), "what was changed before is used"
        app.breakpoints.clear()
        assert torch.equal(model(some_ids()), plain)
        assert torch.overrides._get_current_function_mode() is None
    assert pristine(model)


@pytest.mark.parametrize("name", SILENCED)
@torch.no_grad()
def test_where_it_cannot_be_changed_a_line_says_what_can(name: str, capsys: Any) -> None:
    model, app = small(name), PlayedApp()
    with attached_to(app, model):
        plain = model(some_ids())
        app.break_on("layer:0")
        app.at_stop = lambda breakpoints, stop: exec("weights *= 0.5", app.namespace)
        assert torch.equal(model(some_ids()), plain)
    said = capsys.readouterr().out
    assert (
        "can be looked at, not changed: only what its experts return can be changed; moe.ablate and moe.scale do"
        in said
    )
    assert pristine(model)
