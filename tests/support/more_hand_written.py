"""More MoE blocks as people write them: remote code's gates with groups, routers without a module, one-hot products.

Unlike those in ``hand_written`` they say nothing of what they decide, as blocks that nobody tests don't.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support.hand_written import WIDTH, Expert


class MoEGate(nn.Module):
    """As in DeepSeek-V3's remote code: sigmoid scores, a bias that corrects the choice, groups ranked by their two best."""

    def __init__(self, experts: int = 8, top_k: int = 2, groups: int = 4, kept: int = 2) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(experts, WIDTH) / 4)
        self.e_score_correction_bias = nn.Parameter(torch.randn(experts) * 0.05)
        self.n_routed_experts, self.top_k, self.n_group, self.topk_group = experts, top_k, groups, kept
        self.norm_topk_prob, self.routed_scaling_factor = True, 2.5

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        rows = hidden_states.view(-1, hidden_states.shape[-1])
        logits = functional.linear(rows.type(torch.float32), self.weight.type(torch.float32), None)
        scores = logits.sigmoid()
        scores_for_choice = scores.view(len(rows), -1) + self.e_score_correction_bias.unsqueeze(0)
        group_scores = scores_for_choice.view(len(rows), self.n_group, -1).topk(2, dim=-1)[0].sum(dim=-1)
        group_idx = torch.topk(group_scores, k=self.topk_group, dim=-1, sorted=False)[1]
        group_mask = torch.zeros_like(group_scores)
        group_mask.scatter_(1, group_idx, 1)
        score_mask = (
            group_mask.unsqueeze(-1)
            .expand(len(rows), self.n_group, self.n_routed_experts // self.n_group)
            .reshape(len(rows), -1)
        )
        tmp_scores = scores_for_choice.masked_fill(~score_mask.bool(), float("-inf"))
        _, topk_idx = torch.topk(tmp_scores, k=self.top_k, dim=-1, sorted=False)
        topk_weight = scores.gather(1, topk_idx)
        if self.top_k > 1 and self.norm_topk_prob:
            topk_weight = topk_weight / (topk_weight.sum(dim=-1, keepdim=True) + 1e-20)
        return topk_idx, topk_weight * self.routed_scaling_factor


class DeepseekRemote(nn.Module):
    """As DeepSeek's remote code around that gate: ``moe_infer`` goes through numpy, and shared experts are added."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(Expert() for _ in range(8))
        self.gate = MoEGate()
        self.shared_experts = Expert()

    def forward(self, hidden_states: Tensor) -> Tensor:
        identity, shape = hidden_states, hidden_states.shape
        topk_idx, topk_weight = self.gate(hidden_states)
        hidden_states = hidden_states.view(-1, hidden_states.shape[-1])
        if self.training:
            repeated = hidden_states.repeat_interleave(2, dim=0)
            y = torch.empty_like(repeated)
            for i, expert in enumerate(self.experts):
                y[topk_idx.view(-1) == i] = expert(repeated[topk_idx.view(-1) == i])
            y = (y.view(*topk_weight.shape, -1) * topk_weight.unsqueeze(-1)).sum(dim=1).to(identity.dtype).view(*shape)
        else:
            y = self.moe_infer(hidden_states, topk_idx, topk_weight).view(*shape)
        return y + self.shared_experts(identity)

    @torch.no_grad()
    def moe_infer(self, x: Tensor, topk_ids: Tensor, topk_weight: Tensor) -> Tensor:
        cnts = topk_ids.new_zeros((topk_ids.shape[0], len(self.experts)))
        cnts.scatter_(1, topk_ids, 1)
        tokens_per_expert = cnts.sum(dim=0).cpu().numpy()
        idxs = topk_ids.view(-1).argsort()
        sorted_tokens = x[idxs // topk_ids.shape[1]]
        outputs, start = [], 0
        for i, number in enumerate(tokens_per_expert):
            end = start + number
            if number == 0:
                continue
            outputs.append(self.experts[i](sorted_tokens[start:end]))
            start = end
        outs = torch.cat(outputs, dim=0) if outputs else sorted_tokens.new_empty(0)
        new_x = torch.empty_like(outs)
        new_x[idxs] = outs
        return (
            new_x.view(*topk_ids.shape, -1)
            .type(topk_weight.dtype)
            .mul_(topk_weight.unsqueeze(dim=-1))
            .sum(dim=1)
            .type(new_x.dtype)
        )


class OneHotProducts(nn.Module):
    """One-hot masks of every slot, summed to a matrix of weights, and an einsum over the outputs of all experts."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, 6)
        self.experts = nn.ModuleList(Expert() for _ in range(6))

    def forward(self, x: Tensor) -> Tensor:
        weights, ids = torch.topk(torch.softmax(self.router(x), dim=-1), 2, dim=-1)
        weights = weights / weights.sum(-1, keepdim=True)
        combine = torch.einsum("blk,blke->ble", weights, functional.one_hot(ids, 6).to(x.dtype))
        outputs = torch.stack([expert(x) for expert in self.experts], dim=2)
        return torch.einsum("ble,bled->bld", combine, outputs)


class BareRouter(nn.Module):
    """A router that is a parameter and two functions; experts one token at a time, the best by a sort."""

    def __init__(self) -> None:
        super().__init__()
        self.w_router = nn.Parameter(torch.randn(WIDTH, 8) / 4)
        self.moe_experts = nn.ModuleList(Expert() for _ in range(8))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.size(-1))
        scores = torch.mm(flat, self.w_router)
        order = scores.argsort(dim=-1, descending=True)[:, :3]
        gates = torch.softmax(scores.gather(1, order), dim=-1)
        output = torch.zeros_like(flat)
        for slot in range(3):
            for expert in range(8):
                mask = order[:, slot] == expert
                if mask.any():
                    output[mask] += gates[mask, slot].unsqueeze(-1) * self.moe_experts[expert](flat[mask])
        return output.view_as(x)


class GatedShared(nn.Module):
    """As Qwen2-MoE's: a shared expert behind a sigmoid gate of its own; routed ones in a loop with ``index_add_``."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(WIDTH, 8, bias=False)
        self.experts = nn.ModuleList(Expert() for _ in range(8))
        self.shared_expert = Expert()
        self.shared_expert_gate = nn.Linear(WIDTH, 1, bias=False)
        self.top_k, self.norm_topk_prob = 2, False

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        batch_size, sequence_length, hidden_dim = hidden_states.shape
        hidden_states = hidden_states.view(-1, hidden_dim)
        router_logits = self.gate(hidden_states)
        routing_weights = functional.softmax(router_logits, dim=1, dtype=torch.float)
        routing_weights, selected_experts = torch.topk(routing_weights, self.top_k, dim=-1)
        if self.norm_topk_prob:
            routing_weights /= routing_weights.sum(dim=-1, keepdim=True)
        routing_weights = routing_weights.to(hidden_states.dtype)
        final = torch.zeros((batch_size * sequence_length, hidden_dim), dtype=hidden_states.dtype)
        expert_mask = functional.one_hot(selected_experts, num_classes=8).permute(2, 1, 0)
        for expert_idx in range(8):
            idx, top_x = torch.where(expert_mask[expert_idx])
            current_state = hidden_states[None, top_x].reshape(-1, hidden_dim)
            current = self.experts[expert_idx](current_state) * routing_weights[top_x, idx, None]
            final.index_add_(0, top_x, current.to(hidden_states.dtype))
        shared = self.shared_expert(hidden_states)
        final = final + functional.sigmoid(self.shared_expert_gate(hidden_states)) * shared
        return final.reshape(batch_size, sequence_length, hidden_dim), router_logits


class SwitchTopOne(nn.Module):
    """As labml's Switch Transformer: the best expert by its probability, and what exceeds a capacity passes by unchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.switch = nn.Linear(WIDTH, 6)
        self.experts = nn.ModuleList(Expert() for _ in range(6))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.view(-1, x.shape[-1])
        probabilities = self.switch(rows).softmax(-1)
        best, routes = torch.max(probabilities, dim=-1)
        indexes = [torch.eq(routes, i).nonzero(as_tuple=True)[0] for i in range(6)]
        output = rows.new_zeros(rows.shape)
        for i in range(6):
            output[indexes[i], :] = self.experts[i](rows[indexes[i], :])
        return (output * best.view(-1, 1)).view_as(x)


MORE: dict[str, Any] = {
    block.__name__: block for block in (DeepseekRemote, OneHotProducts, BareRouter, GatedShared, SwitchTopOne)
}
