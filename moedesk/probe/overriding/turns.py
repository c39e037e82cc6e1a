"""Experts chosen one slot after another, each as the best of those that are left (sparsemixer): the choice of one slot."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(eq=False)
class Turns:
    """The slots of one call, in the order in which they are chosen.

    Attributes
    ----------
    slots : int
        How many there are.
    forced : (N, E) bool tensor
        What has to be among them; what was chosen is taken out.
    replayed : (N, k) int64 tensor or None
        What a row is to have in its slots, -1 in rows that choose for themselves.
    """

    slots: int
    forced: Tensor
    replayed: Tensor | None = None
    _slot: int = 0

    def take(self, scores: Tensor, best: Tensor) -> Tensor:
        """Return what the next slot gets: the model's best as long as slots are left for what is forced.

        Parameters
        ----------
        scores : (N, E) tensor
        best : (N, 1) int64 tensor
            What the model would choose.
        """
        left = self.forced.sum(-1, keepdim=True)
        must = (left >= self.slots - self._slot) & (left > 0) & ~self.forced.gather(-1, best)
        finite = scores.clamp(min=torch.finfo(scores.dtype).min)
        among = finite.masked_fill(~self.forced, -torch.inf).argmax(-1, keepdim=True)
        taken = torch.where(must, among, best)
        if self.replayed is not None:
            wanted = self.replayed[:, self._slot : self._slot + 1]
            taken = torch.where(wanted >= 0, wanted, taken)
        self.forced = self.forced.scatter(-1, taken, False)
        self._slot += 1
        return taken
