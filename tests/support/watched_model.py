"""A model of one hand-written block that is watched, with its overrides: what is recorded of it, and what it gives."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moedesk.core.columns import RouteFlag
from moedesk.core.override import Override
from moedesk.probe.overriding.layers import Layers
from moedesk.probe.overriding.overrides import Overrides
from tests.support.capacity import SwitchBlock
from tests.support.gathered import Gathered, gather
from tests.support.hand_written import BLOCKS, WIDTH, ExpertChoice, Small, SoftMoE, some_ids
from tests.support.more_hand_written import MORE
from tests.support.overridden import added

EVERY: dict[str, Any] = {**BLOCKS, **MORE}
"""Blocks whose routing is written as a whole."""
SILENCED: dict[str, Any] = {
    "Capacity": SwitchBlock,
    "ExpertChoice": ExpertChoice,
    "SoftMoE": SoftMoE,
}
"""Blocks of which only what experts return can be changed."""


class Tried:
    """A model of one block, with its overrides."""

    def __init__(self, name: str) -> None:
        self.model: Any = Small({**EVERY, **SILENCED}[name], layers=1).eval()
        self.overrides = Overrides(self.model, Layers(self.model, inputs={"idx": some_ids(seed=77)}))
        self.plain, self.output, self.block_output = self.run()

    @property
    def block(self) -> Any:
        return self.model.layers[0].moe

    @property
    def weight(self) -> Tensor:
        """The router's."""
        own = [(path, p) for path, p in self.block.named_parameters() if "expert" not in path and "noise" not in path]
        return next(p for path, p in own if p.ndim == 2)

    @torch.no_grad()
    def run(self, ids: Tensor | None = None) -> tuple[Gathered, Tensor, Tensor]:
        """What is recorded of a forward, its output and the block's."""
        kept: list[Tensor] = []
        recording, gathered = gather(self.model, logits=True)

        def keep(module: nn.Module, args: Any, output: Any) -> None:
            kept.append((output[0] if isinstance(output, tuple) else output).reshape(-1, WIDTH).clone())

        handle = self.block.register_forward_hook(keep)
        with recording:
            output = self.model(some_ids() if ids is None else ids)
        handle.remove()
        assert not [note for note in gathered.notes if "overridden" not in note]
        return gathered, output, kept[0]

    @contextmanager
    def on(self, *overrides: Override) -> Iterator[None]:
        """Overrides that act in the block, and leave nothing."""
        with added(self.overrides, *overrides):
            yield
            assert not self.overrides.notes
        assert pristine(self.model)

    @property
    def favourite(self) -> tuple[int, np.ndarray]:
        """The expert chosen most, and which rows chose it."""
        ids = self.plain.routes(0).experts
        expert = int(np.bincount(ids[ids >= 0]).argmax())
        return expert, (ids == expert).any(1)


tried = cache(Tried)


def pristine(model: nn.Module) -> bool:
    parts = list(model.modules())
    hooked = any(part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part) for part in parts)
    return not hooked and torch.overrides._get_current_function_mode() is None


def flagged(gathered: Gathered) -> np.ndarray:
    return (gathered.routes(0).flags & RouteFlag.OVERRIDDEN) != 0


def rows_changed(before: Gathered, after: Gathered) -> np.ndarray:
    one, other = before.routes(0), after.routes(0)
    return (one.experts != other.experts).any(1) | (one.weights != other.weights).any(1)
