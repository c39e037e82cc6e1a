"""MoE blocks as people write them by hand: experts in a ModuleList, the routing inside the block's forward.

Each keeps in ``said`` what it decided in each call: ids (N, k) with -1 where nobody was chosen, and weights.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 16


class Expert(nn.Module):
    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.silu(self.up(x)))


class HandWritten(nn.Module):
    """What these blocks have in common."""

    scale = 1.0

    def __init__(self, experts: int = 8, top_k: int = 2) -> None:
        super().__init__()
        self.gate = nn.Linear(WIDTH, experts, bias=False)
        self.experts = nn.ModuleList(Expert() for _ in range(experts))
        self.top_k = top_k
        self.said: list[tuple[Tensor, Tensor]] = []

    def say(self, ids: Tensor, weights: Tensor) -> None:
        self.said.append((ids.detach().clone(), weights.detach().clone()))


class LoopOverExperts(HandWritten):
    """As in transformers 4: a one-hot mask, ``torch.where`` for each expert, ``index_add_``; jitter on the input in training."""

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        batch, length, width = hidden_states.shape
        if self.training:
            hidden_states = hidden_states * torch.empty_like(hidden_states).uniform_(0.9, 1.1)
        hidden_states = hidden_states.view(-1, width)
        router_logits = self.gate(hidden_states)
        routing_weights = functional.softmax(router_logits, dim=1, dtype=torch.float)
        routing_weights, selected_experts = torch.topk(routing_weights, self.top_k, dim=-1)
        routing_weights /= routing_weights.sum(dim=-1, keepdim=True)
        routing_weights = routing_weights.to(hidden_states.dtype)
        self.say(selected_experts, routing_weights)
        final = torch.zeros((batch * length, width), dtype=hidden_states.dtype, device=hidden_states.device)
        expert_mask = functional.one_hot(selected_experts, num_classes=len(self.experts)).permute(2, 1, 0)
        for number, expert in enumerate(self.experts):
            slot, rows = torch.where(expert_mask[number])
            if rows.numel():
                current = expert(hidden_states[None, rows].reshape(-1, width)) * routing_weights[rows, slot, None]
                final.index_add_(0, rows, current.to(hidden_states.dtype))
        return final.reshape(batch, length, width), router_logits


class SortedTokens(HandWritten):
    """As in DeepSeek's ``moe_infer``: tokens sorted by expert; sigmoid scores with a bias, a factor, a shared expert."""

    scale = 1.0

    def __init__(self, experts: int = 8, top_k: int = 2) -> None:
        super().__init__(experts, top_k)
        self.e_score_correction_bias = nn.Parameter(torch.randn(experts) * 0.1)
        self.shared_experts = Expert()

    def forward(self, hidden_states: Tensor) -> Tensor:
        shape, rows = hidden_states.shape, hidden_states.view(-1, hidden_states.shape[-1])
        logits = functional.linear(rows.float(), self.gate.weight.float())
        scores = logits.sigmoid()
        _, topk_idx = torch.topk(scores + self.e_score_correction_bias, k=self.top_k, dim=-1, sorted=False)
        topk_weight = scores.gather(1, topk_idx)
        topk_weight = topk_weight / (topk_weight.sum(dim=-1, keepdim=True) + 1e-20) * 2.5
        self.say(topk_idx, topk_weight)
        counts = torch.bincount(topk_idx.view(-1), minlength=len(self.experts))
        order = topk_idx.view(-1).argsort()
        sorted_rows = rows[order // self.top_k]
        outputs, start = [], 0
        for number, count in enumerate(counts.tolist()):
            if count:
                outputs.append(self.experts[number](sorted_rows[start : start + count]))
                start += count
        outs = torch.cat(outputs)
        back = torch.empty_like(outs)
        back[order] = outs
        final = back.view(*topk_idx.shape, -1).type(topk_weight.dtype).mul_(topk_weight.unsqueeze(-1)).sum(dim=1)
        return final.type(outs.dtype).view(shape) + self.shared_experts(hidden_states)


class MaskedLoop(HandWritten):
    """As in nanoGPT-like code: softmax over the chosen logits, a mask for each expert; noise on the logits in training."""

    def __init__(self, experts: int = 8, top_k: int = 2) -> None:
        super().__init__(experts, top_k)
        self.noise = nn.Linear(WIDTH, experts)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.gate(x)
        if self.training:
            logits = logits + torch.randn_like(logits) * functional.softplus(self.noise(x))
        best, indices = logits.topk(self.top_k, dim=-1)
        sparse = torch.full_like(logits, float("-inf")).scatter(-1, indices, best)
        gating = functional.softmax(sparse, dim=-1)
        self.say(indices.view(-1, self.top_k), gating.gather(-1, indices).view(-1, self.top_k))
        output = torch.zeros_like(x)
        flat, flat_gating = x.view(-1, x.size(-1)), gating.view(-1, gating.size(-1))
        for number, expert in enumerate(self.experts):
            chosen = (indices == number).any(dim=-1)
            if chosen.any():
                weighted = expert(flat[chosen.view(-1)]) * flat_gating[chosen.view(-1), number].unsqueeze(1)
                output[chosen] += weighted
        return output


class AllExpertsRun(HandWritten):
    """Dense dispatch: every expert runs on every token, a mostly-zero matrix of weights picks; the block adds its input."""

    def forward(self, x: Tensor) -> Tensor:
        probabilities = self.gate(x).softmax(-1)
        values, indices = probabilities.topk(self.top_k, dim=-1)
        weights = torch.zeros_like(probabilities).scatter_(-1, indices, values)
        self.say(indices.view(-1, self.top_k), values.view(-1, self.top_k))
        stacked = torch.stack([expert(x) for expert in self.experts], dim=-2)
        return x + (stacked * weights.unsqueeze(-1)).sum(-2)


class TopOne(HandWritten):
    """As the Switch Transformer in teaching code: the best expert alone, by its probability."""

    def __init__(self, experts: int = 8) -> None:
        super().__init__(experts, 1)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        probability, route = functional.softmax(self.gate(rows), dim=-1).max(dim=-1)
        self.say(route[:, None], probability[:, None])
        chosen = [(route == number).nonzero(as_tuple=True)[0] for number in range(len(self.experts))]
        output = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            output[chosen[number]] = expert(rows[chosen[number]])
        return (output * probability[:, None]).view_as(x)


class GateModule(nn.Module):
    """Ids first, then weights: what a gate of its own hands out."""

    def __init__(self, experts: int, top_k: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(experts, WIDTH) / 4)
        self.top_k = top_k

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = rows @ self.weight.t()
        weights, ids = logits.softmax(-1).topk(self.top_k, dim=-1)
        return ids, weights, logits


class OwnGate(HandWritten):
    """A gate of its own class, and one token after the other."""

    def __init__(self, experts: int = 8, top_k: int = 2) -> None:
        super().__init__(experts, top_k)
        self.gate: Any = GateModule(experts, top_k)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        ids, weights, _ = self.gate(rows)
        self.say(ids, weights)
        output = torch.zeros_like(rows)
        for row in range(rows.shape[0]):
            for slot in range(self.top_k):
                output[row] += weights[row, slot] * self.experts[int(ids[row, slot])](rows[row])
        return output.view_as(x)


class ExpertChoice(HandWritten):
    """Each expert picks its best tokens of the batch: a token gets none, one or several experts."""

    dim = 0

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, WIDTH)
        scores = self.gate(rows).softmax(-1)
        capacity = max(1, rows.shape[0] * self.top_k // len(self.experts))
        weights, chosen = scores.t().topk(capacity, dim=-1)
        output = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            output.index_add_(0, chosen[number], weights[number, :, None] * expert(rows[chosen[number]]))
        with torch._C.DisableTorchFunction():
            self.say(*_per_token(chosen, weights, rows.shape[0]))
        return output.view_as(x)


class ExpertChoiceInSequence(HandWritten):
    """The same within each sequence of a batch, picked along the tokens' axis: (batch, capacity, E)."""

    def forward(self, x: Tensor) -> Tensor:
        scores = self.gate(x).softmax(-1)
        weights, chosen = scores.topk(max(1, x.shape[1] * self.top_k // len(self.experts)), dim=1)
        output = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            places = chosen[:, :, number, None].expand(-1, -1, WIDTH)
            output.scatter_add_(1, places, weights[:, :, number, None] * expert(x.gather(1, places)))
        with torch._C.DisableTorchFunction():
            flat = (chosen + torch.arange(len(x))[:, None, None] * x.shape[1]).permute(2, 0, 1).flatten(1)
            self.say(*_per_token(flat, weights.permute(2, 0, 1).flatten(1), x.shape[0] * x.shape[1]))
        return output


def _per_token(chosen: Tensor, weights: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """(N, E) ids with -1, and weights, of the (E, C) tokens that experts picked."""
    ids = torch.full((rows, len(chosen)), -1)
    given = torch.zeros(rows, len(chosen))
    for expert, (tokens, values) in enumerate(zip(chosen.tolist(), weights.tolist(), strict=True)):
        for token, value in zip(tokens, values, strict=True):
            ids[token, expert], given[token, expert] = expert, value
    return ids, given


class SoftMoE(HandWritten):
    """Puigcerver et al.: every slot of an expert gets a mixture of all tokens, every token a mixture of all slots."""

    slots = 3

    def __init__(self, experts: int = 8) -> None:
        super().__init__(experts, experts)
        self.phi = nn.Parameter(torch.randn(WIDTH, experts, self.slots))

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.einsum("bnd,des->bnes", x, self.phi)
        dispatch = logits.softmax(dim=1)
        combine = logits.flatten(2).softmax(dim=-1)
        mixed = torch.einsum("bnd,bnes->ebsd", x, dispatch)
        back = torch.stack([expert(part) for expert, part in zip(self.experts, mixed, strict=True)], dim=1)
        with torch._C.DisableTorchFunction():
            weights = combine.view(-1, len(self.experts), self.slots).sum(-1)
            self.say(torch.arange(len(self.experts)).expand(len(weights), -1), weights)
        return combine @ back.flatten(1, 2)


BLOCKS = {
    block.__name__: block for block in (LoopOverExperts, SortedTokens, MaskedLoop, AllExpertsRun, TopOne, OwnGate)
}


class Small(nn.Module):
    """Two layers of a block behind an embedding, as a model of one's own."""

    def __init__(self, block: Any, layers: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(60, WIDTH)
        self.layers = nn.ModuleList(nn.ModuleDict({"moe": block()}) for _ in range(layers))
        self.head = nn.Linear(WIDTH, 60)

    def forward(self, idx: Tensor) -> Tensor:
        hidden = self.embed(idx)
        for layer in self.layers:
            output = layer["moe"](functional.layer_norm(hidden, (WIDTH,)))
            hidden = hidden + (output[0] if isinstance(output, tuple) else output)
        return self.head(hidden)


def some_ids(batch: int = 2, length: int = 9, seed: int = 5) -> Tensor:
    """(batch, length) token ids; some come twice."""
    return torch.randint(0, 60, (batch, length), generator=torch.Generator().manual_seed(seed))
