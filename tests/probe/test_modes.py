"""What watches a block's operations when its call begins anew, and what is done out of its sight."""

import torch

from moedesk.probe.finding.modes import alone, begin_anew
from moedesk.probe.watched.operations import OperationObserver, Place, Taker

ONE, TWO = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]])


def test_a_call_that_begins_anew_is_seen_from_there_on() -> None:
    observer, taker = OperationObserver(2, 3, 1), Taker([(("exp", "neg"), (Place(1, 0),))])
    taker.start()
    observer.start()  # inside: what it is told goes on to the other
    ONE.exp()
    begin_anew()
    TWO.exp().neg()
    assert observer.names == ["exp", "neg"]
    observer.stop()
    taker.stop()
    assert taker.came == 0
    assert torch.equal(taker.taken[Place(1, 0)], -TWO.exp())
    assert torch.equal(observer.steps[1].value, -TWO.exp())
    assert torch.overrides._get_current_function_mode() is None


def test_what_runs_alone_is_seen_by_nobody_and_what_ends_meanwhile_does_not_come_back() -> None:
    observer, taker = OperationObserver(2, 3, 1), Taker([(("exp", "neg"), (Place(1, 0),))])
    taker.start()
    observer.start()
    ONE.exp()
    with alone():
        ONE.sin()
        observer.stop()
    ONE.exp().neg()
    assert torch.overrides._get_current_function_mode() is taker
    taker.stop()
    assert observer.names == ["exp"]
    assert taker.came == -1, "it saw exp twice, and no sin"
