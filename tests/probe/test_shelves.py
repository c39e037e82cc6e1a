"""Copies that lie one behind the other."""

import pytest
import torch

from moedesk.probe.taking import shelves
from moedesk.probe.taking.shelves import Kind, Shelves, together

ROWS, K = 100, 8


def test_from_the_second_pass_on_nothing_has_to_be_stacked() -> None:
    lengths: dict[Kind, int] = {}
    for turn in range(3):
        given = [torch.randint(0, 64, (ROWS + turn, K)) for _ in range(5)]
        weights = [torch.rand((ROWS + turn, K), dtype=torch.bfloat16, requires_grad=True) for _ in range(5)]
        some = Shelves(lengths)
        ids = [some.copy("ids", tensor, torch.int8) for tensor in given]
        floats = [some.copy("weights", tensor, torch.float32) for tensor in weights]
        assert not floats[0].requires_grad
        stacked, floating = together(ids), together(floats)
        assert (stacked is None) == (turn == 0)
        if stacked is not None and floating is not None:
            assert stacked.data_ptr() == ids[0].data_ptr()
            assert torch.equal(stacked.long(), torch.stack(given))
            assert torch.equal(floating, torch.stack(weights).float())


def test_what_was_copied_before_stays() -> None:
    lengths: dict[Kind, int] = {("ids", torch.Size([K]), torch.int64): 2}
    some = Shelves(lengths)
    kept = [some.copy("ids", torch.full((ROWS, K), number)) for number in range(9)]
    assert [tensor.unique().tolist() for tensor in kept] == [[number] for number in range(9)]


def test_what_does_not_lie_together_is_not_taken_for_it() -> None:
    some = Shelves({("ids", torch.Size([K]), torch.int64): 6})
    a, b, c, d = (some.copy("ids", torch.full((ROWS, K), number)) for number in range(4))
    assert together([b, a]) is None
    assert together([a, c]) is None
    assert together([a, b[:50]]) is None
    assert together([a, b.view(torch.float64)]) is None
    assert together([a.T, b.T]) is None
    stacked = together([b, c, d])
    assert stacked is not None
    assert stacked[:, 0, 0].tolist() == [1, 2, 3]
    alone = torch.ones(ROWS, K)
    other = together([alone])
    assert other is not None
    assert torch.equal(other[0], alone)


def test_a_shelf_of_large_tensors_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "MOST_BYTES", 2 * ROWS * K)
    some = Shelves({("ids", torch.Size([K]), torch.int8): 40})
    first = some.copy("ids", torch.zeros(ROWS, K), torch.int8)
    assert first.untyped_storage().nbytes() == 3 * ROWS * K
