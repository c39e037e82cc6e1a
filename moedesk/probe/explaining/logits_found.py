"""Finds the operation of a forward that calculates a router's logits: by their values."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
from torch import Tensor

from moedesk.core.errors import MoedeskError
from moedesk.probe.explaining.rerun import Rerun
from moedesk.probe.explaining.split import Reached
from moedesk.probe.explaining.tape import Node, Tape
from moedesk.probe.finding.binding import Binding


class LogitsFinder:
    """Told every tensor of a forward; stops it at the first one that holds the logits of the token.

    Parameters
    ----------
    logits : (E,) float array
        As captured: logits, or logarithms of the probabilities that a router returns instead.
    row : int
        Of the token.

    Attributes
    ----------
    found : Node or None
    """

    def __init__(self, logits: np.ndarray, row: int) -> None:
        self._wanted = torch.from_numpy(np.array(logits, np.float32))
        self._row = row
        self.found: Node | None = None

    def see(self, node: Node, tensor: Tensor) -> None:
        """Take note of a tensor and what made it."""
        if node.number < 0 or not node.size or tensor.ndim < 2 or tensor.shape[-1] != len(self._wanted):
            return
        rows = tensor.detach().reshape(-1, tensor.shape[-1])
        if len(rows) <= self._row:
            return
        row = rows[self._row].cpu().float()
        if self._alike(row, tensor.dtype) or self._alike(row.log_softmax(-1), tensor.dtype):
            self.found = node
            raise Reached

    def _alike(self, row: Tensor, dtype: torch.dtype) -> bool:
        finite = torch.isfinite(self._wanted)
        slack = 4 * torch.finfo(dtype).eps * float(self._wanted[finite].abs().max()) if bool(finite.any()) else 0.0
        return torch.allclose(row, self._wanted, rtol=0, atol=max(slack, 1e-6), equal_nan=True)


@contextmanager
def read_again(binding: Binding) -> Iterator[None]:
    """Let an adapter read its layer's calls: it may be what makes the logits, out of what the block returns."""
    adapter = binding.adapter
    if adapter is None or adapter.read is None:
        yield
        return
    read = adapter.read
    if adapter.when == "before":
        handle = binding.hooked.register_forward_pre_hook(
            lambda module, args, kwargs: _ignored(read(module, args, kwargs, None)), with_kwargs=True
        )
    else:
        handle = binding.hooked.register_forward_hook(
            lambda module, args, kwargs, output: _ignored(read(module, args, kwargs, output)), with_kwargs=True
        )
    try:
        yield
    finally:
        handle.remove()


def _ignored(routing: object) -> None:
    """The hook changes nothing."""


def find_logits(rerun: Rerun, binding: Binding) -> Node:
    """Return what made the logits of a layer: run the model up to there, watching its operations.

    Raises
    ------
    MoedeskError
        If they can't be read, or are made out of sight.
    """
    path = binding.layer.path
    routes = rerun.routes.get(binding.layer.place)
    if routes is None or routes.logits is None:
        raise MoedeskError(f"{path}: its router's logits can't be read, so there is nothing to explain")
    if not np.isfinite(routes.logits[rerun.row]).any():
        raise MoedeskError(f"{path} did not see this token, or its logits are not finite")
    finder = LogitsFinder(routes.logits[rerun.row], rerun.row)
    with suppress(Reached), read_again(binding), Tape(rerun.model, finder.see):
        rerun.run()
    if finder.found is None:
        raise MoedeskError(
            f"{path}: no operation that can be seen calculates its logits (compiled code, or a kernel of its own)"
        )
    return finder.found
