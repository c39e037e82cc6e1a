"""Every family and adapter: what slots gave adds up to what the model's own hooks show, and everything to its logit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moedesk.core.errors import MoedeskError
from moedesk.probe.explaining.attribute import attribute
from moedesk.probe.explaining.heard import heard_slots
from moedesk.probe.explaining.passage import Passage, passage_of_ids
from moedesk.probe.explaining.rerun import Rerun
from tests.support import hand_written
from tests.support.capacity import SwitchBlock
from tests.support.families import FAMILIES, build, some_ids
from tests.support.hand_written import Small
from tests.support.hand_written import some_ids as some_small_ids

REFUSED = {
    "diffusion_gemma": "with which token its decoder begins",
    "vitpose_backbone": "takes no input_ids", "qwen3_omni_moe talker": "can't be run on these tokens alone",
}  # fmt: skip
SWALLOWED: dict[str, set[str]] = {"inkling2": {"layer 0, the rest"}}
"""What is left of parts that hold more than an MoE block: inkling2's first layer writes nothing into the stream itself."""
NO_SLOTS = {"jetmoe": {1, 3}}
"""Layers whose experts can't be run alone: jetmoe's in the attention."""


def passage_for(name: str, ids: Tensor) -> Passage:
    """The ids as the decoder's where there is an encoder too: so few that no expert's capacity drops the last one."""
    if FAMILIES[name].layers[0].stream != "encoder":
        return passage_of_ids(ids)
    return replace(passage_of_ids(ids[:3]), source=some_ids(1, seed=5)[0].numpy())


def without_head(name: str) -> bool:
    return not name.endswith("pictures") and FAMILIES[name].model_class.endswith("TextModel")


@pytest.mark.parametrize("name", FAMILIES)
def test_slots_add_up_to_what_the_experts_return_and_all_to_the_logit(family: Any, name: str) -> None:
    model, ids = family(name), some_ids(1)[0]
    if name in REFUSED:
        with pytest.raises(MoedeskError, match=REFUSED[name]):
            attribute(model, passage_of_ids(ids))
        return
    outputs: dict[str, Tensor] = {}
    passage = passage_for(name, ids)
    with Rerun(model, passage) as rerun:
        handles = [
            binding.candidate.experts.register_forward_hook(
                lambda m, a, output, path=binding.candidate.path: outputs.__setitem__(path, output)
            )
            for binding in rerun.bindings
            if binding.adapter is None
        ]
        slots, problems = heard_slots(rerun)
        for handle in handles:
            handle.remove()
        experts = [binding.candidate.experts for binding in rerun.bindings]
        for binding in rerun.bindings:
            place = binding.layer.place
            assert (place in problems) == (place in NO_SLOTS.get(name, ())), problems
            if binding.adapter is None:
                row = outputs[binding.candidate.path].reshape(-1, slots[place].added.shape[-1])[-1].double()
                size = float(slots[place].added.abs().sum(0).max())
                assert float((slots[place].added.sum(0) - row).abs().max()) < 1e-5 * size
            if place in slots:
                assert slots[place].complete
                assert not slots[place].block[0] > slots[place].block[1]
    if without_head(name):
        with pytest.raises(MoedeskError, match="returns no logits of tokens"):
            attribute(model, passage_of_ids(ids))
        return
    found = attribute(model, passage, target=5, method="direct")
    assert found.complete, found
    assert any("tanh on the way" in note for note in found.notes) == (name in ("inkling2", "beam"))
    assert {c.name for c in found.components if c.name.endswith("the rest")} == SWALLOWED.get(name, set())
    has_slots = ~np.isin(found.layers, list(NO_SLOTS.get(name, ())))
    assert np.isfinite(found.direct[has_slots][found.experts[has_slots] >= 0]).all()
    for component, value in zip(found.components, found.component_direct.tolist(), strict=True):
        assert value != 0, component  # else its share is in another part
    if name == "ernie4_5_vl_moe pictures":  # what holds the block has the shared experts
        assert [component.kind for component in found.components].count("shared") == 2
        assert not any(component.kind == "other" for component in found.components)
    scales = [layer.post_scale for layer in FAMILIES[name].layers]
    for row, place in enumerate(found.layers.tolist()):
        if place in slots and not np.isnan(scales[place]):
            sizes = slots[place].added.norm(dim=-1).numpy() * (scales[place] if slots[place].module in experts else 1)
            np.testing.assert_allclose(found.norms[row], sizes, rtol=1e-4)
    if name != "openai_privacy_filter":
        with torch.no_grad():
            own = {"input_ids": ids[None]}
            if passage.source is not None:
                own = {"input_ids": torch.from_numpy(passage.source)[None], "decoder_input_ids": ids[None, :3]}
            assert found.logit == pytest.approx(float(model(**own).logits[0, -1, 5]), abs=1e-5)


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    **hand_written.BLOCKS,
    "ExpertChoice": hand_written.ExpertChoice,
    "SwitchBlock": lambda: SwitchBlock(top_k=1, capacity=12),
}


@pytest.mark.parametrize(
    "name", ["phimoe", "olmoe", "gemma4", "cohere2_moe", "dbrx", "qwen3_next", "afmoe", "minimax_m3_vl"]
)
def test_norms_with_any_weights_and_biases(name: str) -> None:
    """Fresh models have norms of ones and zeros, with which much is alike."""
    model, ids = build(name), some_ids(1)[0]
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if "norm" in path and parameter.ndim == 1:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        head = model.get_output_embeddings()
        if head.bias is not None:
            head.bias += torch.randn(head.bias.shape, generator=generator)
    found = attribute(model, passage_of_ids(ids), target=5, method=("direct", "gradient"))
    assert found.complete, found
    assert found.tolerance < 1e-4
    biased = [component.kind for component in found.components].count("constant")
    assert biased == (name == "phimoe")


@contextmanager
def silent_for_last_row(block: nn.Module, expert: nn.Module) -> Iterator[None]:
    """An expert that gives nothing to rows like the last one that its block got."""
    last: list[Tensor] = []

    def silence(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        mask = (args[0] == last[-1]).all(-1, keepdim=True)
        return output.masked_fill(mask, 0)

    handles = [
        block.register_forward_pre_hook(lambda m, args: last.append(args[0].reshape(-1, args[0].shape[-1])[-1])),
        expert.register_forward_hook(silence),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_ones_own(name: str) -> None:
    """Ablations against runs in which the module of the expert gives nothing to the last row."""
    model, ids = Small(BLOCKS[name]).eval(), some_small_ids(1)[0]
    found = attribute(model, passage_of_ids(ids), target=7, value="logprob")
    assert found.complete
    assert (found.sum_errors <= found.sum_tolerances).all()

    def run() -> float:
        with torch.no_grad():
            return float(model(ids[None])[0, -1].double().log_softmax(-1)[7])

    assert found.value == pytest.approx(run(), abs=1e-5)
    for place, layer in enumerate(model.layers):
        for slot, expert in enumerate(found.experts[place].tolist()):
            if expert < 0:
                continue
            with silent_for_last_row(layer["moe"], layer["moe"].experts[expert]):
                assert found.ablation[place, slot] == pytest.approx(found.value - run(), abs=1e-5)


@pytest.mark.parametrize("capacity", [1, 3])
def test_rows_that_would_take_one_anothers_places_run_alone(capacity: int) -> None:
    """A token by itself, whose copies in one batch are too many for their expert."""
    model, ids = Small(lambda: SwitchBlock(top_k=1, capacity=capacity)).eval(), some_small_ids(1)[0, :1]
    found = attribute(model, passage_of_ids(ids), target=7, method="ablation")
    assert any("whole passes" in note for note in found.notes)
    for place, layer in enumerate(model.layers):
        with silent_for_last_row(layer["moe"], layer["moe"].experts[int(found.experts[place, 0])]), torch.no_grad():
            after = float(model(ids[None])[0, -1, 7])
        assert found.ablation[place, 0] == pytest.approx(found.value - after, abs=1e-6)


@pytest.mark.parametrize("name", ["olmoe", "deepseek_v3", "gpt_oss"])
def test_every_implementation_of_experts(name: str) -> None:
    model, ids = build(name), some_ids(1)[0]
    found = []
    for implementation in ("eager", "batched_mm", "grouped_mm"):
        model.set_experts_implementation(implementation)
        found.append(attribute(model, passage_of_ids(ids), target=5))
        assert found[-1].complete
        assert (found[-1].sum_errors <= found[-1].sum_tolerances).all()
    for other in found[1:]:
        for column in ("direct", "gradient", "ablation", "norms"):
            np.testing.assert_allclose(getattr(other, column), getattr(found[0], column), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_dtypes(dtype: torch.dtype) -> None:
    found = attribute(build("deepseek_v3").to(dtype), passage_of_ids(some_ids(1)[0]), target=5)
    assert found.complete
    assert (found.sum_errors <= found.sum_tolerances).all()
    assert found.tolerance < 0.5
