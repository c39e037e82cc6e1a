"""Live attachments: what arrives is what the model routed, the model is left alone, and nothing makes it wait."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from moedesk.core.columns import PassFlag
from moedesk.core.errors import CaptureWarning, MoedeskError, NoMoELayersError
from moedesk.probe.attach import attach, attached
from moedesk.probe.taking import courier
from tests.probe.test_trace import state_of
from tests.support.families import build, some_ids
from tests.support.gathered import Gathered
from tests.support.hand_written import BLOCKS, Small
from tests.support.hand_written import some_ids as hand_written_ids
from tests.support.sinks import Blocked, Counted
from tests.support.until import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_stays_attached")


def test_what_arrives_is_what_the_models_own_routers_said(sample: tuple[nn.Module, Any]) -> None:
    model, tokenizer = sample
    ids = tokenizer("Two trains leave the station", return_tensors="pt").input_ids
    sink = Gathered()
    with torch.no_grad():
        plain = model(ids, output_router_logits=True)
        attachment = attach(model, tokenizer, sink=sink, logits=True)
        outputs = [model(ids, output_router_logits=True) for _ in range(3)]
        attachment.detach()
    for output in outputs:
        assert torch.equal(output.logits, plain.logits), "outputs are bit-identical"
    assert [len(batch.layers) for batch in sink.batches] == [6, 6, 6]
    for turn, output in enumerate(outputs):
        np.testing.assert_array_equal(sink.batches[turn].tokens["main"]["token_id"], ids[0].numpy())
        for layer, logits in enumerate(output.router_logits):
            routes = sink.routes(layer, turn)
            weights, chosen = logits.float().softmax(-1).topk(2)
            np.testing.assert_array_equal(routes.experts, chosen.numpy())
            np.testing.assert_allclose(routes.weights, weights.numpy(), rtol=1e-6)
            np.testing.assert_array_equal(routes.logits, logits.float().numpy())
            np.testing.assert_array_equal(routes.counts, np.bincount(chosen.flatten(), minlength=16))


def test_generation_is_followed_token_by_token(sample: tuple[nn.Module, Any]) -> None:
    model, tokenizer = sample
    prompt = tokenizer("def add(a, b):", return_tensors="pt").input_ids
    sink = Gathered()
    plain = model.generate(prompt, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    attachment = attach(model, sink=sink)
    text = model.generate(prompt, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    attachment.detach()
    assert torch.equal(text, plain)
    assert [phase.label for phase in sink.phases] == ["prefill", "decode", "decode", "decode", "decode"]
    np.testing.assert_array_equal(sink.tokens()["token_id"], text[0, :-1].numpy())


def test_the_model_is_described_at_once_and_again_when_its_layers_are_known() -> None:
    model = build("olmoe")
    sink = Gathered()
    attachment = attach(model, sink=sink)
    assert attachment.model.layers == ()
    assert len(attachment.model.modules) == sum(1 for _ in model.modules())
    with torch.no_grad():
        model(some_ids())
    assert [layer.path for layer in attachment.model.layers] == ["model.layers.0.mlp", "model.layers.1.mlp"]
    attachment.detach()
    assert [len(described.layers) for described in sink.models] == [0, 2]


@pytest.mark.parametrize("passes", [0, 1, 3])
def test_detaching_leaves_nothing_and_a_second_time_does_nothing(olmoe: nn.Module, passes: int) -> None:
    before = state_of(olmoe)
    sink = Gathered()
    attachment = attach(olmoe, sink=sink)
    assert attached() == [attachment]
    assert state_of(olmoe) != before
    with torch.no_grad():
        for _ in range(passes):
            olmoe(some_ids())
    attachment.detach()
    attachment.detach()
    assert state_of(olmoe) == before
    assert attached() == []
    assert len(sink.batches) == passes
    assert sink.closed
    assert not attachment.attached
    assert attachment.state == "detached"


def test_attaching_twice_gives_the_same_handle_and_says_so(olmoe: nn.Module) -> None:
    attachment = attach(olmoe, sink=Gathered())
    with pytest.warns(CaptureWarning, match="attached already") as caught:
        again = attach(olmoe, sink=Gathered(), counts_only=True)
    assert again is attachment
    assert "\n" not in str(caught[0].message)
    attachment.detach()
    new = attach(olmoe, sink=Gathered())
    assert new is not attachment
    new.detach()


def test_two_models_are_attached_side_by_side() -> None:
    one, two = build("olmoe"), build("mixtral")
    first, second = attach(one, sink=Gathered()), attach(two, sink=Gathered())
    assert attached() == [first, second]
    with torch.no_grad():
        two(some_ids())
    assert (first.passes, second.passes) == (0, 1)
    first.detach()
    assert attached() == [second]
    second.detach()


def test_wrong_use_is_one_line(olmoe: nn.Module) -> None:
    wrong: list[tuple[type[Exception], Callable[[], object]]] = [
        (NoMoELayersError, lambda: attach(nn.Linear(2, 2), sink=Gathered())),
        (MoedeskError, lambda: attach({}, sink=Gathered())),  # type: ignore[arg-type]
        (MoedeskError, lambda: attach(olmoe, sink=Gathered(), every=0)),
        (MoedeskError, lambda: attach(olmoe, sink=Gathered(), layers=[7])),
    ]
    for kind, use in wrong:
        with pytest.raises(kind) as caught:
            use()
        assert "\n" not in str(caught.value)
    assert attached() == []


class TestRecordingOff:
    def test_nothing_is_taken(self, olmoe: nn.Module) -> None:
        sink = Counted()
        attachment = attach(olmoe, sink=sink)
        with torch.no_grad():
            olmoe(some_ids())
            attachment.set_recording(False)
            before = attachment.counters
            olmoe(some_ids(seed=1))
            olmoe(some_ids(seed=2))
            assert attachment.counters.passes == before.passes == 1
            attachment.set_recording(True)
            olmoe(some_ids(seed=3))
        attachment.detach()
        assert len(sink.batches) == 2
        np.testing.assert_array_equal(sink.batches[1].tokens["main"]["token_id"], some_ids(seed=3).flatten())
        assert not sink.notes, "calls while it was off are no calls outside a pass"

    def test_nothing_is_on_the_model(self, olmoe: nn.Module) -> None:
        before = state_of(olmoe)
        sink = Gathered()
        attachment = attach(olmoe, sink=sink)
        with torch.no_grad():
            for seed in range(3):  # the first finds the layers
                attachment.set_recording(False)
                assert state_of(olmoe) == before
                olmoe(some_ids(seed=9))
                attachment.set_recording(True)
                hooked = state_of(olmoe)
                olmoe(some_ids(seed=seed))
        assert hooked != before
        attachment.detach()
        attachment.set_recording(True)
        assert state_of(olmoe) == before
        np.testing.assert_array_equal(
            sink.tokens()["token_id"], torch.cat([some_ids(seed=seed) for seed in range(3)]).flatten()
        )

    @pytest.mark.parametrize("kind", ["olmoe", "llama4", "hand-written"])
    def test_nor_are_hooks_of_any_other_kind(self, family: Any, kind: str) -> None:
        """Those that measure outputs in training; an adapter's; those of a watched block."""
        model: Any = Small(BLOCKS["LoopOverExperts"]) if kind == "hand-written" else family(kind)
        model.train()
        before, sink = state_of(model), Gathered()
        attachment = attach(model, sink=sink, backward=True)
        for _ in range(3):
            attachment.set_recording(True)
            model(hand_written_ids() if kind == "hand-written" else some_ids())
            attachment.set_recording(False)
            assert state_of(model) == before
            model(hand_written_ids() if kind == "hand-written" else some_ids())
        attachment.detach()
        model.eval()
        assert [len(batch.layers) for batch in sink.batches] == [2, 2, 2]

    def test_output_norms_come_again_after_a_pause(self, olmoe: nn.Module) -> None:
        sink, optimizer = Gathered(), torch.optim.SGD(olmoe.parameters(), lr=0.0)
        attachment = attach(olmoe.train(), sink=sink, backward=True)
        for recording in (True, True, False, True, True):
            attachment.set_recording(recording)
            olmoe(some_ids(), labels=some_ids()).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        attachment.detach()
        olmoe.eval()
        norms = sink.norms("outputs", 0)
        assert [step.row["step"] for step in sink.steps] == [0, 1, 3, 4], "those of the pause are counted"
        assert np.isfinite(norms[1:]).any(-1).all(), "the first pass finds the layers"
        np.testing.assert_array_equal(norms[1], norms[3])

    def test_switched_off_within_a_pass_the_hooks_go_at_its_end(self, olmoe: nn.Module) -> None:
        before = state_of(olmoe)
        sink = Gathered()
        attachment = attach(olmoe, sink=sink)
        handle = olmoe.model.layers[1].register_forward_pre_hook(lambda *_: attachment.set_recording(False))
        with torch.no_grad():
            olmoe(some_ids())
        handle.remove()
        assert state_of(olmoe) == before
        attachment.detach()
        assert [len(batch.layers) for batch in sink.batches] == [2]

    def test_from_the_start_no_layer_is_looked_for(self, olmoe: nn.Module) -> None:
        sink = Gathered()
        attachment = attach(olmoe, sink=sink)
        attachment.set_recording(False)
        with torch.no_grad():
            olmoe(some_ids())
        assert attachment.model.layers == ()
        attachment.set_recording(True)
        with torch.no_grad():
            olmoe(some_ids())
        assert len(attachment.model.layers) == 2
        attachment.detach()
        assert len(sink.batches) == 1

    def test_switched_within_a_pass_it_counts_from_the_next(self, olmoe: nn.Module) -> None:
        sink = Gathered()
        attachment = attach(olmoe, sink=sink)
        switch = [False, True]
        handle = olmoe.model.layers[1].register_forward_pre_hook(lambda *_: attachment.set_recording(switch.pop(0)))
        with torch.no_grad():
            olmoe(some_ids(seed=1))  # off in the middle: this pass is whole
            olmoe(some_ids(seed=2))  # on in the middle: this one is left out
            handle.remove()
            olmoe(some_ids(seed=3))
        attachment.detach()
        assert [len(batch.layers) for batch in sink.batches] == [2, 2]
        np.testing.assert_array_equal(
            sink.tokens()["token_id"], torch.cat([some_ids(seed=1), some_ids(seed=3)]).flatten()
        )
        assert not sink.notes


class TestAsinkThatBlocks:
    """The limits are lowered, so that a few passes reach them; nothing here waits for the sink."""

    def run(self, model: nn.Module, passes: int) -> None:
        with torch.no_grad():
            for seed in range(passes):
                model(some_ids(seed=seed))

    @pytest.fixture(autouse=True)
    def low_limits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(courier, "SHED_BYTES", 60_000)
        monkeypatch.setattr(courier, "DROP_BYTES", 120_000)

    def test_the_model_runs_on_and_every_pass_is_accounted_for(self, olmoe: nn.Module, blocked: Blocked) -> None:
        attachment = attach(olmoe, sink=blocked)
        self.run(olmoe, 40)
        counters = attachment.counters
        assert counters.passes == 40
        assert counters.shed > 0
        assert counters.dropped > 0
        assert counters.dropped_tokens == 18 * (counters.shed + counters.dropped)
        assert counters.queued_bytes >= 120_000
        blocked.free.set()
        attachment.detach()
        shed = [batch for batch in blocked.batches if int(batch.header["flags"]) == PassFlag.COUNTS_ONLY]
        assert len(shed) == counters.shed
        assert len(blocked.batches) == counters.passes - counters.dropped
        for batch in shed:
            assert [routes.counts.sum() for routes in batch.layers] == [36, 36], "counts are exact"
        told = {name: value for name, value in blocked.sums.items() if not name.endswith("_ns")}
        assert told == {
            "passes": 40, "spared": 0, "shed": counters.shed, "dropped": counters.dropped,
            "dropped_tokens": counters.dropped_tokens,
        }  # fmt: skip

    def test_detaching_gives_up_on_it_and_counts_what_is_lost(
        self, olmoe: nn.Module, blocked: Blocked, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(courier, "CLOSE_SECONDS", 0.05)
        before = state_of(olmoe)
        attachment = attach(olmoe, sink=blocked)
        self.run(olmoe, 3)
        assert blocked.entered.wait(PATIENCE)
        with pytest.warns(CaptureWarning, match="hangs"):
            attachment.detach()
        assert state_of(olmoe) == before
        assert (attachment.counters.passes, attachment.counters.dropped) == (3, 3)

    def test_after_it_lets_go_whole_passes_arrive_again(self, olmoe: nn.Module, blocked: Blocked) -> None:
        attachment = attach(olmoe, sink=blocked)
        self.run(olmoe, 40)
        blocked.free.set()
        emptied = threading.Event()
        attachment._tracer.courier._put(courier._Job(emptied.set))
        assert emptied.wait(PATIENCE)
        self.run(olmoe, 1)
        attachment.detach()
        assert int(blocked.batches[-1].header["flags"]) == 0

    def test_a_long_pass_that_outgrows_the_room_is_shed_in_its_middle(
        self, olmoe: nn.Module, blocked: Blocked, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attachment = attach(olmoe, sink=blocked)
        self.run(olmoe, 2)
        assert blocked.entered.wait(PATIENCE)
        monkeypatch.setattr("moedesk.probe.taking.tap.FEW", 0)  # the pass counts as a long one,
        monkeypatch.setattr("moedesk.probe.taking.tap.HELD_BYTES", 1)  # of which each layer is handed on alone
        monkeypatch.setattr(courier, "SHED_BYTES", attachment.counters.queued_bytes + 1)
        self.run(olmoe, 1)
        assert (attachment.counters.passes, attachment.counters.shed) == (3, 1)
        blocked.free.set()
        attachment.detach()
        assert [int(batch.header["flags"]) for batch in blocked.batches] == [0, 0, PassFlag.COUNTS_ONLY]
        assert [routes.counts.sum() for routes in blocked.batches[2].layers] == [36, 36]
