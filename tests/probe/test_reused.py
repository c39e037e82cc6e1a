"""Memory is given again when nobody has it any more, and never before."""

import gc
from collections.abc import Callable

import numpy as np
import pytest
import torch

from moedesk.probe.taking import reused
from moedesk.probe.taking.reused import ReusedMemory

SHAPE = (2, 100, 8)


def of_weights(memory: ReusedMemory) -> torch.Tensor:
    return memory.empty(SHAPE, torch.float32)


VIEWS: dict[str, Callable[[torch.Tensor], object]] = {
    "the tensor": lambda tensor: tensor,
    "a view": lambda tensor: tensor[1],
    "an array": lambda tensor: tensor.numpy(),
    "a view of an array": lambda tensor: tensor.numpy()[1].view(np.uint8),
    "what zmq gets": lambda tensor: tensor.numpy().reshape(-1).view(np.uint8).data,
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_given_again_once_nothing_refers_to_it(view: Callable[[torch.Tensor], object]) -> None:
    memory = ReusedMemory()
    tensor = of_weights(memory)
    place = tensor.data_ptr()
    held = view(tensor)
    del tensor
    other = of_weights(memory)
    assert other.data_ptr() != place, "somebody has it"
    assert other.shape == SHAPE
    del held
    gc.collect()
    assert of_weights(memory).data_ptr() == place


def test_other_sizes_and_types() -> None:
    memory = ReusedMemory()
    tensors = [memory.empty(SHAPE, dtype) for dtype in (torch.int8, torch.int16, torch.float32, torch.bfloat16)]
    for number, tensor in enumerate(tensors):
        tensor.fill_(number)
    assert [tensor.unique().tolist() for tensor in tensors] == [[0], [1], [2], [3]]
    place = tensors.pop(2).data_ptr()
    assert memory.empty((1, 90, 8), torch.int8).data_ptr() != place, "too small for so much memory"
    assert memory.empty((2, 90, 8), torch.float32).data_ptr() == place


def test_no_more_is_kept_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reused, "KEPT_BYTES", 10_000)
    memory = ReusedMemory()
    held = [of_weights(memory) for _ in range(5)]
    assert sum(block.nbytes for block in memory._blocks) == 6400
    held.clear()
    whole = memory.empty((10_000,), torch.int8)
    assert [block.nbytes for block in memory._blocks] == [10_000]
    assert len(whole) == 10_000
