"""Experts put into slots whose choice ranks nothing: looked up in a table, or given by the caller."""

from collections.abc import Sequence

import torch
from torch import Tensor


def with_forced(ids: Tensor, experts: Sequence[int], scores: Tensor) -> Tensor:
    """Return (N, k) ids in which these experts are: each takes the slot of that one of the others whose score is lowest.

    Rows that have them are left alone.

    Parameters
    ----------
    ids : (N, k) int64 tensor
    experts : sequence of int
        At most k.
    scores : (N, k) tensor
        Of what is in the slots.
    """
    forced = torch.tensor(experts, device=ids.device)
    for expert in experts:
        others = scores.masked_fill(torch.isin(ids, forced), torch.inf)
        instead = ids.scatter(-1, others.argmin(-1, keepdim=True), expert)
        ids = torch.where((ids == expert).any(-1, keepdim=True), ids, instead)
    return ids
