"""The placement of experts against the published example, and what any placement must obey."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moedesk.analysis.placement import balancedness_mean, balancedness_total, rebalance
from moedesk.core.errors import MoedeskError

# From the README of DeepSeek's EPLB.
WEIGHT = [[90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86], [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27]]
PLACED = [[5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1], [7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1]]


def test_the_published_example() -> None:
    placement = rebalance(WEIGHT, replicas=16, groups=4, nodes=2, devices=8)
    assert placement.expert_of.tolist() == PLACED
    load = placement.device_load(WEIGHT, 8)
    assert balancedness_mean(load) == pytest.approx(0.816369, abs=5e-7)
    assert balancedness_total(load) == pytest.approx(0.815574, abs=5e-7)


@given(st.data())
def test_every_expert_is_held_and_no_load_is_lost(data: st.DataObject) -> None:
    nodes, per_node, size = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    groups, devices = nodes * data.draw(st.integers(1, 2)), nodes * per_node
    experts = groups * size
    replicas = devices * data.draw(st.integers(-(-experts // devices), -(-experts // devices) + 2))
    weight = data.draw(st.lists(st.integers(0, 1000), min_size=experts, max_size=experts))
    placement = rebalance([weight], replicas, groups, nodes, devices)
    row = placement.expert_of[0].tolist()
    assert len(row) == replicas
    assert set(row) == set(range(experts))
    assert placement.copies[0].tolist() == [row.count(expert) for expert in range(experts)]
    for expert in range(experts):
        held = [replica for replica, one in enumerate(row) if one == expert]
        assert [r for r in placement.replicas_of[0, expert].tolist() if r >= 0] == held
    load = placement.device_load([weight], devices)
    assert load.sum() == pytest.approx(sum(weight))
    if groups % nodes == 0 and nodes > 1:  # a group stays on its node
        for group in range(groups):
            places = {row.index(expert) * nodes // replicas for expert in range(group * size, (group + 1) * size)}
            assert len(places) == 1


def test_numbers_that_do_not_fit_are_named() -> None:
    with pytest.raises(MoedeskError, match=r"15 doesn't divide by 8 \(replicas by devices\)"):
        rebalance(WEIGHT, replicas=15, groups=4, nodes=2, devices=8)
    with pytest.raises(MoedeskError, match="8 replicas can't hold 12 experts"):
        rebalance(WEIGHT, replicas=8, groups=4, nodes=2, devices=8)
