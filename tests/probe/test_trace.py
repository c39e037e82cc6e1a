"""What a recording leaves on a model: nothing, however it ends."""

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import _get_current_function_mode

from moedesk.core.columns import PassFlag
from tests.support.families import build, some_ids
from tests.support.gathered import gather


def state_of(model: nn.Module) -> dict[str, Any]:
    """Everything a hook, an attribute or a buffer would show up in."""
    state: dict[str, Any] = {}
    for path, module in model.named_modules():
        state[path] = sorted(vars(module))
        for name, value in vars(module).items():
            if "hooks" in name and isinstance(value, dict):
                state[f"{path}.{name}"] = list(value)
        state[f"{path} buffers"] = [name for name, _ in module.named_buffers(recurse=False)]
        state[f"{path} forward"] = "forward" in vars(module)
    return state


@pytest.mark.parametrize("passes", [0, 1, 3])
@pytest.mark.parametrize("name", ["olmoe", "switch_transformers"])
def test_nothing_is_left(family: Any, name: str, passes: int) -> None:
    model = family(name)
    inputs = {"decoder_input_ids": some_ids(2, 3)} if name == "switch_transformers" else {}
    with torch.no_grad():
        model(some_ids(), **inputs)  # Switch's routers keep a dtype of their own after a forward
    before = state_of(model)
    recording, _ = gather(model)
    with torch.no_grad(), recording:
        assert state_of(model) != before
        for _ in range(passes):
            model(some_ids(), **inputs)
    assert state_of(model) == before


def test_an_exception_in_the_block_goes_on_and_the_capture_is_finished(olmoe: nn.Module) -> None:
    before = state_of(olmoe)
    recording, gathered = gather(olmoe)

    def body() -> None:
        with torch.no_grad(), recording:
            olmoe(some_ids())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()
    assert gathered.closed
    assert len(gathered.batches) == 1
    assert state_of(olmoe) == before


class BrokenError(Exception):
    pass


@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt])
@pytest.mark.parametrize("earlier", [0, 1])
@pytest.mark.parametrize("where", ["model.layers.1.mlp.gate", "model.layers.1.mlp.experts", "model.norm"])
def test_a_forward_that_raises_is_a_failed_pass_and_the_next_ones_are_fine(
    olmoe: nn.Module, error: type[BaseException], earlier: int, where: str
) -> None:
    before = state_of(olmoe)
    broken = True

    def fail(module: nn.Module, args: Any) -> None:
        if broken:
            raise error

    recording, gathered = gather(olmoe)
    with torch.no_grad(), recording:
        broken = False
        for _ in range(earlier):
            olmoe(some_ids())
        broken = True
        handle = olmoe.get_submodule(where).register_forward_pre_hook(fail)
        with pytest.raises(error):
            olmoe(some_ids())
        broken = False
        olmoe(some_ids())
        handle.remove()
    assert _get_current_function_mode() is None
    flags = [PassFlag(int(batch.header["flags"])) for batch in gathered.batches]
    assert flags == [PassFlag(0)] * earlier + [PassFlag.FAILED, PassFlag(0)]
    ran = 2 if where == "model.norm" else 1
    assert [len(batch.layers) for batch in gathered.batches][earlier] >= ran
    assert len(gathered.batches[-1].layers) == 2
    assert gathered.batches[-1].layers[0].counts.sum() == 36
    assert state_of(olmoe) == before


def test_an_interrupted_last_forward_is_kept_as_failed(olmoe: nn.Module) -> None:
    def fail(module: nn.Module, args: Any) -> None:
        raise KeyboardInterrupt

    recording, gathered = gather(olmoe)
    handle = olmoe.model.norm.register_forward_pre_hook(fail)
    with torch.no_grad(), pytest.raises(KeyboardInterrupt), recording:
        olmoe(some_ids())
    handle.remove()
    assert [int(batch.header["flags"]) for batch in gathered.batches] == [PassFlag.FAILED]


def test_two_recordings_of_one_model_at_once(olmoe: nn.Module) -> None:
    before = state_of(olmoe)
    outer, one = gather(olmoe)
    inner, two = gather(olmoe)
    with torch.no_grad():
        plain = olmoe(some_ids()).logits
        with outer:
            with inner:
                first = olmoe(some_ids()).logits
            second = olmoe(some_ids()).logits
    assert torch.equal(plain, first)
    assert torch.equal(plain, second)
    assert (len(one.batches), len(two.batches)) == (2, 1)
    assert {layer.score for layer in (*one.model.layers, *two.model.layers)} == {"softmax"}
    assert _get_current_function_mode() is None
    assert state_of(olmoe) == before


def test_the_model_can_be_freed_after_a_recording() -> None:
    model = build("olmoe")
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        model(some_ids())
    gone = weakref.ref(model)
    del model, recording
    gc.collect()
    assert gone() is None
    assert gathered.batches


def test_inference_mode(olmoe: nn.Module) -> None:
    recording, gathered = gather(olmoe)
    with torch.inference_mode(), recording:
        olmoe(some_ids())
        olmoe(some_ids())
    assert [routes.counts.sum() for batch in gathered.batches for routes in batch.layers] == [36] * 4
