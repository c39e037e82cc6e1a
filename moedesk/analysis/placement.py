"""Where experts and their replicas would best lie: the rule of DeepSeek's expert-parallel load balancer (EPLB).

Groups of experts go to nodes, the experts of a node are replicated where they carry most, the replicas go to the node's devices;
each time the heaviest first, to the lightest place that has room.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moedesk.core.errors import MoedeskError

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Placement:
    """Which replica holds which expert.

    Attributes
    ----------
    expert_of : (L, R) int64
        Expert held by each replica; a device holds R / devices replicas in a row.
    replicas_of : (L, E, X) int64
        Replicas of each expert, -1 where it has fewer than the most, X.
    copies : (L, E) int64
        Replicas of each expert.
    """

    expert_of: Ints
    replicas_of: Ints
    copies: Ints

    def device_load(self, weight: npt.ArrayLike, devices: int) -> npt.NDArray[np.float64]:
        """Return (L, devices) load of each device, an expert's load being split evenly over its replicas."""
        each = np.asarray(weight, np.float64) / self.copies
        load: npt.NDArray[np.float64] = np.take_along_axis(each, self.expert_of, 1)
        return load.reshape(len(load), devices, -1).sum(2)


def rebalance(weight: npt.ArrayLike, replicas: int, groups: int, nodes: int, devices: int) -> Placement:
    """Return a placement for the load of L layers.

    Parameters
    ----------
    weight : (L, E)
        Load of each expert.
    replicas : int
        Replicas in all, at least E; a multiple of ``devices``.
    groups, nodes, devices : int
        Expert groups, nodes, and devices over all nodes. Where the groups can't be split evenly over the nodes, all is one node.

    Raises
    ------
    MoedeskError
        If the numbers don't divide.
    """
    load = np.asarray(weight, np.float64)
    experts = load.shape[1]
    if groups % nodes:
        groups = nodes = 1
    for number, by, what in (
        (experts, groups, "experts by groups"),
        (devices, nodes, "devices by nodes"),
        (replicas, devices, "replicas by devices"),
    ):
        if number % by:
            raise MoedeskError(f"can't place the experts: {number} doesn't divide by {by} ({what}); change one of them")
    if replicas < experts:
        raise MoedeskError(f"{replicas} replicas can't hold {experts} experts; give at least {experts}")
    rows = [_layer(layer, replicas, groups, nodes, devices) for layer in load]
    expert_of = np.array(rows)
    copies = np.array([np.bincount(row, minlength=experts) for row in expert_of])
    replicas_of = np.full((len(load), experts, copies.max()), -1, np.int64)
    for layer, row in enumerate(expert_of):
        for expert in range(experts):
            held = np.flatnonzero(row == expert)
            replicas_of[layer, expert, : len(held)] = held
    return Placement(expert_of, replicas_of, copies)


def _layer(load: npt.NDArray[np.float64], replicas: int, groups: int, nodes: int, devices: int) -> Ints:
    """(R,) the expert of each replica of one layer."""
    size = len(load) // groups
    node_of = _pack(load.reshape(groups, size).sum(1), nodes)
    row: list[Ints] = []
    for groups_there in node_of:
        experts = np.concatenate([np.arange(group * size, (group + 1) * size) for group in groups_there])
        held = _replicate(load[experts], replicas // nodes)
        each = load[experts] / np.bincount(held, minlength=len(experts))
        row += [experts[held[there]] for there in _pack(each[held], devices // nodes)]
    return np.concatenate(row)


def _replicate(load: npt.NDArray[np.float64], replicas: int) -> Ints:
    """(replicas,) every expert once, then again and again the one whose replicas carry most."""
    held = list(range(len(load)))
    copies = np.ones(len(load))
    while len(held) < replicas:
        heaviest = int((load / copies).argmax())
        held.append(heaviest)
        copies[heaviest] += 1
    return np.array(held)


def _pack(load: npt.NDArray[np.float64], packs: int) -> list[Ints]:
    """The items of each of ``packs`` equally large packs: heaviest first, to the lightest pack that has room."""
    room = len(load) // packs
    if room == 1:
        return [np.array([item]) for item in range(packs)]
    held: list[list[int]] = [[] for _ in range(packs)]
    carried = np.zeros(packs)
    for item in np.argsort(-load, kind="stable").tolist():
        open_packs = [pack for pack in range(packs) if len(held[pack]) < room]
        lightest = min(open_packs, key=lambda pack: carried[pack])
        held[lightest].append(item)
        carried[lightest] += load[item]
    return [np.array(items) for items in held]


def balancedness_mean(device_load: npt.NDArray[np.float64]) -> float:
    """Return mean over layers of (mean + 1e-5) / (max + 1e-5) over devices: SGLang's convention; 1 is even."""
    return float(((device_load.mean(1) + 1e-5) / (device_load.max(1) + 1e-5)).mean())


def balancedness_total(device_load: npt.NDArray[np.float64]) -> float:
    """Return Σ over layers of mean ÷ Σ of max over devices: vLLM's convention; 1 is even."""
    most = device_load.max(1).sum()
    return float(device_load.mean(1).sum() / most) if most else float("nan")
