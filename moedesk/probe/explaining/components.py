"""What is added to the stream beside the slots of MoE layers, and what of a target reaches each of it."""

from collections.abc import Collection
from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt
import torch

from moedesk.core.attribution import Component
from moedesk.probe.explaining.backward import Backward, Part
from moedesk.probe.finding.discovery import inside


@dataclass(frozen=True, eq=False)
class Components:
    """All but the slots of the chosen layers.

    Attributes
    ----------
    names : tuple of Component
        Branches, shared experts, what else the blocks of the chosen layers add, biases of norms.
    norms : (n,) float64
        Of what each adds; NaN where that is only known as a difference.
    products : (n,) float64
        Gradient × what each adds.
    """

    names: tuple[Component, ...]
    norms: npt.NDArray[np.float64]
    products: npt.NDArray[np.float64]


def components_of(heard: Backward, places: Collection[int], dtype: torch.dtype) -> Components:
    """Return what one backward found of all but the slots of some layers.

    Parameters
    ----------
    heard : Backward
    places : collection of int
        The layers whose slots stand for themselves.
    dtype : torch.dtype
        The model's, for what of a block is left by rounding alone.
    """
    reached = set(heard.slots) - set(heard.unreached)
    found: list[tuple[Component, Part | None, float]] = []
    for branch, part in heard.branches:
        split = [place for place in branch.places if place in reached and place in places]
        if not split:
            found.append((branch.component, part, part.product))
            continue
        block, left = branch.component.block, part.product
        for place in split:
            left -= float((heard.slots[place].added @ heard.anchors[place].gradient).sum())
            for path, shared in heard.shared.get(place, ()):
                if not inside(path, branch.component.path):
                    continue  # a branch of its own
                found.append((Component(f"shared experts {block}", "shared", path, block), shared, shared.product))
                left -= shared.product
        if abs(left) > 64 * torch.finfo(dtype).eps * part.size:
            name = f"{branch.component.name}, the rest"
            found.append((Component(name, "other", branch.component.path, block), None, left))
    if heard.constant:
        found.append((Component("biases", "constant"), None, heard.constant))
    return Components(
        tuple(component for component, _, _ in found),
        np.array([nan if part is None else float(part.value.norm()) for _, part, _ in found]),
        np.array([product for _, _, product in found]),
    )
