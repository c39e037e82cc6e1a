"""Live attachments at their edges: interrupts, other threads, sinks that break, calls of another form."""

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from moedesk.core.batch import RouteBatch
from moedesk.core.columns import PassFlag
from moedesk.core.live import Counters
from moedesk.probe.attach import attach, attached
from moedesk.probe.finding.routing import CallForm, read_routing
from tests.probe.test_trace import state_of
from tests.support.families import build, some_ids
from tests.support.gathered import Gathered
from tests.support.sinks import Counted
from tests.support.until import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_stays_attached")


@pytest.mark.parametrize("earlier", [0, 1])
@pytest.mark.parametrize("where", ["model.layers.1.mlp.gate", "model.layers.1.mlp.experts", "model.norm"])
def test_an_interrupted_forward_then_detach_leaves_nothing(olmoe: nn.Module, where: str, earlier: int) -> None:
    before = state_of(olmoe)
    sink = Gathered()
    attachment = attach(olmoe, sink=sink)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with torch.no_grad():
        for _ in range(earlier):
            olmoe(some_ids())
        handle = olmoe.get_submodule(where).register_forward_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            olmoe(some_ids())
    handle.remove()
    attachment.detach()
    assert state_of(olmoe) == before
    assert torch.overrides._get_current_function_mode() is None
    assert [int(batch.header["flags"]) for batch in sink.batches] == [0] * earlier + [PassFlag.FAILED]


@pytest.mark.parametrize("earlier", [0, 1])
@pytest.mark.parametrize("where", ["model.layers.1.mlp.gate", "model.layers.1.mlp.experts", "model.layers.1.self_attn"])
def test_detaching_from_another_thread_while_a_pass_runs(where: str, earlier: int) -> None:
    model = build("olmoe")
    before = state_of(model)
    with torch.no_grad():
        plain = model(some_ids()).logits
    sink = Gathered()
    attachment = attach(model, sink=sink)

    def detach_elsewhere(*_: Any) -> None:
        thread = threading.Thread(target=attachment.detach)
        thread.start()
        thread.join()

    with torch.no_grad():
        for _ in range(earlier):
            model(some_ids())
        handle = model.get_submodule(where).register_forward_pre_hook(detach_elsewhere)
        output = model(some_ids()).logits
        handle.remove()
        assert torch.equal(output, plain)
        assert state_of(model) == before
        assert torch.overrides._get_current_function_mode() is None
        model(some_ids())
    assert [int(batch.header["flags"]) for batch in sink.batches] == [0] * earlier + [PassFlag.FAILED]


def test_attaching_while_a_pass_runs_counts_from_the_next(olmoe: nn.Module) -> None:
    sink = Gathered()
    handles: list[Any] = []

    def attach_now(*_: Any) -> None:
        if not handles:
            handles.append(attach(olmoe, sink=sink))

    hook = olmoe.model.layers[0].register_forward_pre_hook(attach_now)
    with torch.no_grad():
        olmoe(some_ids(seed=1))
        olmoe(some_ids(seed=2))
    hook.remove()
    handles[0].detach()
    np.testing.assert_array_equal(sink.tokens()["token_id"], some_ids(seed=2).flatten())
    assert not sink.notes


def test_a_model_that_is_dropped_is_freed_and_its_sink_closed() -> None:
    model = build("olmoe")
    sink = Gathered()
    attach(model, sink=sink)
    with torch.no_grad():
        model(some_ids())
    threads = [thread for thread in threading.enumerate() if thread.name == "moedesk-courier"]
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    assert attached() == []
    for thread in threads:
        thread.join(PATIENCE)
    assert sink.closed
    assert len(sink.batches) == 1


def test_what_passes_cost_is_told(olmoe: nn.Module) -> None:
    sink = Counted()
    attachment = attach(olmoe, sink=sink)
    with torch.no_grad():
        for _ in range(4):
            olmoe(some_ids())
    attachment.detach()
    counters = attachment.counters
    assert (counters.passes, counters.shed, counters.dropped, counters.dropped_tokens) == (4, 0, 0, 0)
    assert 0 < counters.hook_ns < counters.pass_ns
    assert counters.pass_ns > sum(int(batch.header["t1_ns"] - batch.header["t0_ns"]) for batch in sink.batches)
    assert sink.sums["passes"] == 4
    assert 0 < sink.sums["hook_ns"] <= counters.hook_ns
    assert counters.queued_bytes == 0


def test_what_the_sink_itself_leaves_out_is_counted_too(olmoe: nn.Module) -> None:
    class Leaky(Counted):
        """Drops every second pass, and counts all that was left out."""

        def append(self, batch: RouteBatch) -> None:
            super().append(batch)
            if len(self.batches) % 2 == 0:
                self.count(dropped=1)

        @property
        def counters(self) -> Counters:
            return Counters(**self.sums)

    attachment = attach(olmoe, sink=Leaky())
    with torch.no_grad():
        for _ in range(5):
            olmoe(some_ids())
    attachment.detach()
    counters = attachment.counters
    assert (counters.passes, counters.dropped) == (5, 2)
    assert "2 dropped" in repr(attachment)


def test_a_sink_that_breaks_is_said_and_the_model_goes_on(olmoe: nn.Module) -> None:
    sink = Gathered()

    def refuse(batch: RouteBatch) -> None:
        raise RuntimeError("no more")

    sink.append = refuse  # type: ignore[method-assign]
    attachment = attach(olmoe, sink=sink)
    with torch.no_grad():
        olmoe(some_ids())
        olmoe(some_ids())
    attachment._tracer.courier.close()
    assert "no more" in attachment.state
    attachment.detach()
    assert any("no more" in note for note in sink.notes)


def test_its_repr_says_what_it_is(olmoe: nn.Module) -> None:
    attachment = attach(olmoe, sink=Gathered())
    assert "not run yet" in repr(attachment)
    with torch.no_grad():
        olmoe(some_ids())
    assert repr(attachment) == "<Attachment 'OlmoeForCausalLM': 2 MoE layers × 8 experts, 1 pass, recording>"
    attachment.set_recording(False)
    assert "paused" in repr(attachment)
    attachment.detach()
    assert "detached" in repr(attachment)


def test_a_call_of_another_form_is_read_anew() -> None:
    """Positional and by name, other dtypes, other top-k: never by the places of the call before."""
    model = build("olmoe")
    block = model.model.layers[0].mlp
    sent: list[tuple[torch.Tensor, torch.Tensor]] = []

    def call(turn: int, rows: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        if turn == 3:
            ids = ids.int()
        elif turn == 4:
            ids, weights = ids[:, :1], weights[:, :1]
        elif turn == 5:
            weights = weights.double()
        sent.append((ids, weights))
        if turn == 1:
            return block.experts(rows, top_k_weights=weights, top_k_index=ids)
        if turn == 2:
            return block.experts(rows, top_k_index=ids, top_k_weights=weights)
        return block.experts(rows, ids, weights)

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        rows = hidden.view(-1, hidden.shape[-1])
        _, weights, ids = block.gate(rows)
        return call(len(sent) % 6, rows, ids, weights).reshape(hidden.shape).float()

    sink = Gathered()
    attachment = attach(model, sink=sink)
    block.forward = forward
    with torch.no_grad():
        for seed in range(13):
            model(some_ids(2, 40, seed))  # too long to be held
    attachment.detach()
    for batch, (ids, weights) in zip(sink.batches, sent, strict=True):
        np.testing.assert_array_equal(batch.layers[0].experts, ids.numpy())
        np.testing.assert_array_equal(batch.layers[0].weights, weights.float().numpy())


def test_a_call_is_only_read_by_its_places_if_it_looks_the_same() -> None:
    hidden, ids, weights = torch.zeros(3, 4), torch.tensor([[1, 0], [2, 3], [0, 3]]), torch.rand(3, 2)
    routing = read_routing((hidden, ids, weights), {})
    assert routing is not None
    form = CallForm.of((hidden, ids, weights), {}, routing)
    assert form is not None
    found = form.read((hidden, ids, weights), {})
    assert found is not None
    assert found[0] is ids
    assert found[1] is weights
    others: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((hidden, weights, ids), {}),
        ((hidden, ids), {"weights": weights}),
        ((hidden, None, weights), {}),
        ((hidden, ids, weights, None), {}),
        ((hidden, ids, weights[:2]), {}),
        ((hidden, ids[:, :1], weights[:, :1]), {}),
        ((hidden, ids.int(), weights), {}),
        ((hidden[:0], ids[:0], weights[:0]), {}),
    ]
    assert [form.read(args, kwargs) for args, kwargs in others] == [None] * len(others)


def test_a_call_outside_a_forward_of_the_model_is_said(olmoe: nn.Module) -> None:
    sink = Gathered()
    attachment = attach(olmoe, sink=sink)
    with torch.no_grad():
        olmoe(some_ids())
        olmoe.model.layers[0].mlp(torch.zeros(1, 2, 32))
    attachment.detach()
    assert sink.notes == ["1 calls of MoE layers outside a forward of the model were not recorded"]


def test_what_the_model_changes_in_place_afterwards_is_kept_as_it_was() -> None:
    """Ids, weights and logits are copies: the courier looks at them after the model overwrote them."""
    model = build("olmoe")
    sink = Gathered()
    attachment = attach(model, sink=sink, logits=True)
    kept: list[tuple[torch.Tensor, ...]] = []
    emitted: list[torch.Tensor] = []

    def overwrite(module: nn.Module, args: tuple[torch.Tensor, ...], output: Any) -> None:
        values = (args[1], args[2], emitted.pop())
        kept.append(tuple(value.clone() for value in values))
        for value in values:
            value.zero_()

    mlp = model.model.layers[0].mlp
    mlp.gate.register_forward_hook(lambda module, args, output: emitted.append(output[0]))
    mlp.experts.register_forward_hook(overwrite)
    with torch.no_grad():
        for seed in range(3):
            model(some_ids(2, 40, seed))  # too long to be held
    attachment.detach()
    for turn in (1, 2):  # the first call is read more closely, at its end
        routes, (ids, weights, logits) = sink.routes(0, turn), kept[turn]
        np.testing.assert_array_equal(routes.experts, ids.numpy())
        np.testing.assert_array_equal(routes.weights, weights.numpy())
        np.testing.assert_array_equal(routes.logits, logits.numpy())
