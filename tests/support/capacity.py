"""Layers with a capacity, built as DeepSpeed's, FairScale's and fairseq's: a gate that hands out dispatch and combine tensors.

Class names and what is called are those of the originals; ``said`` holds what was decided, worked out token by token.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support.hand_written import WIDTH, Expert


def gshard(logits: Tensor, top_k: int, capacity: int, noisy: bool = False) -> tuple[Tensor, Tensor, list[Any]]:
    """Combine weights, load-balancing loss, and a mapping from expert to weight for each token."""
    gates = logits.softmax(dim=1)
    experts = gates.shape[1]
    left, masks = logits + torch.randn_like(logits) * noisy, []
    for _ in range(top_k):
        choice = left.argmax(dim=1)
        masks.append(functional.one_hot(choice, experts))
        left = left.scatter(1, choice[:, None], float("-inf"))
    loss = (gates.mean(0) * masks[0].float().mean(0)).sum() * experts
    filled, kept, places = torch.zeros(1, experts, dtype=torch.int64), [], []
    for mask in masks:
        place = mask.cumsum(0) - 1 + filled
        filled = filled + mask.sum(0, keepdim=True)
        kept.append(mask * (place < capacity))
        places.append((place * kept[-1]).sum(1))
    values = [(gates * mask).sum(1) for mask in kept]
    if top_k > 1:
        total = torch.stack(values).sum(0).clamp(min=1e-9)
        values = [value / total for value in values]
    combine = sum(
        torch.einsum("s,se,sc->sec", value, mask.to(value.dtype), functional.one_hot(place, capacity).to(value.dtype))
        for value, mask, place in zip(values, kept, places, strict=True)
    )
    assert isinstance(combine, Tensor)
    with torch._C.DisableTorchFunction():
        said = _one_by_one(gates.detach(), torch.stack([mask.argmax(1) for mask in masks]), capacity)
    return combine, loss, said


def _one_by_one(gates: Tensor, choices: Tensor, capacity: int) -> list[Any]:
    """The same in a loop over tokens: who comes first gets a place."""
    room = [0] * gates.shape[1]
    said: list[dict[int, float]] = [{} for _ in gates]
    for choice in choices.tolist():
        for token, expert in enumerate(choice):
            if room[expert] < capacity:
                said[token][expert] = float(gates[token, expert])
            room[expert] += 1
    if len(choices) == 1:
        return said
    return [{expert: weight / sum(given.values()) for expert, weight in given.items()} for given in said]


class TopKGate(nn.Module):
    """DeepSpeed's: (l_aux, combine_weights, dispatch_mask, exp_counts), in float32 whatever the model computes in."""

    def __init__(self, experts: int, k: int, capacity: int) -> None:
        super().__init__()
        self.wg = nn.Linear(WIDTH, experts, bias=False).float()
        self.k, self.capacity = k, capacity
        self.said: list[Any] = []

    def forward(self, input: Tensor, used_token: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        logits = functional.linear(input.float(), self.wg.weight.float()) if self.k == 3 else self.wg(input.float())
        combine, loss, said = gshard(logits, self.k, self.capacity, self.training)
        self.said.append(said)
        return loss, combine, combine.bool(), combine.bool().sum((0, 2))


class Top2Gate(TopKGate):
    """FairScale's and fairseq's: three values."""

    def __init__(self, experts: int, capacity: int) -> None:
        super().__init__(experts, 2, capacity)
        del self.k
        self.top = 2

    def forward(self, input: Tensor, *rest: Any) -> Any:
        combine, loss, said = gshard(self.wg(input.float()), 2, self.capacity, self.training)
        self.said.append(said)
        return loss, combine, combine.bool()


class Experts(nn.Module):
    """Runs each expert on its slice of (groups, experts, capacity, H)."""

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.deepspeed_experts = nn.ModuleList(Expert() for _ in range(experts))
        self.num_local_experts = experts

    def forward(self, inputs: Tensor) -> Tensor:
        chunks = inputs.chunk(self.num_local_experts, dim=1)
        return torch.cat([expert(chunk) for expert, chunk in zip(self.deepspeed_experts, chunks, strict=True)], dim=1)


class MOELayer(nn.Module):
    """Dispatch, experts, combine."""

    def __init__(self, gate: nn.Module, experts: int = 6) -> None:
        super().__init__()
        self.gate, self.experts = gate, Experts(experts)

    def forward(self, hidden: Tensor) -> Tensor:
        rows = hidden.reshape(-1, WIDTH)
        self.l_aux, combine, dispatch, *_ = self.gate(rows, None)
        sent = torch.einsum("sec,sm->ecm", dispatch.type_as(rows), rows)
        back = self.experts(sent.unsqueeze(0))[0]
        return torch.einsum("sec,ecm->sm", combine.type_as(rows), back).view_as(hidden)


class SwitchBlock(nn.Module):
    """Dispatch and combine in the block's own forward, with no class name that anyone knows."""

    def __init__(self, experts: int = 6, top_k: int = 2, capacity: int = 4) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, experts, bias=False)
        self.experts = nn.ModuleList(Expert() for _ in range(experts))
        self.top_k, self.capacity = top_k, capacity
        self.said: list[Any] = []

    def forward(self, hidden: Tensor) -> Tensor:
        rows = hidden.reshape(-1, WIDTH)
        combine, _, said = gshard(self.router(rows).float(), self.top_k, self.capacity)
        self.said.append(said)
        combine = combine.to(rows.dtype)
        sent = torch.einsum("sec,sm->ecm", (combine > 0).to(rows.dtype), rows)
        back = torch.stack([expert(slots) for expert, slots in zip(self.experts, sent, strict=True)])
        return torch.einsum("sec,ecm->sm", combine, back).view_as(hidden)
