"""What a block is made of: shared experts, number of experts, biases, by its modules and its configuration."""

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from moedesk.probe.finding.discovery import Candidate

_SHARED = re.compile(r"shared_?(expert|mlp)|shared$")


def is_shared(name: str) -> bool:
    """Whether a child of a block is its shared experts, by its name."""
    return bool(_SHARED.search(name)) and not name.endswith("gate")


def shared_experts(block: nn.Module, around: nn.Module | None = None) -> int:
    """Return how many shared experts a block has, by its child modules and its configuration, or those of what holds it."""
    return _shared_in(block) or (0 if around is None else _shared_in(around))


def _shared_in(block: nn.Module) -> int:
    for name, child in block.named_children():
        if not is_shared(name) or not any(True for _ in child.parameters()):
            continue
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            return len(child)
        for holder in (child, block):
            config = getattr(holder, "config", None)
            for key in ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"):
                number = getattr(config, key, None) or getattr(holder, key, None)
                if isinstance(number, int) and number > 0:
                    return number
        return 1
    return 0


def first_tensor(output: Any) -> Tensor | None:
    """Return the tensor in what a module returned, the first if there are several."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, tuple | list):
        return next((value for value in output if isinstance(value, Tensor)), None)
    return None


def count_experts(experts: nn.Module) -> int:
    """Return how many experts a module holds: by its stacked parameters, its children, or what it says."""
    stacked = [p.shape[0] for p in experts.parameters(recurse=False) if p.ndim == 3]
    if stacked:
        return int(stacked[0])
    for module in (experts, *experts.children()):
        for name in ("num_experts", "n_routed_experts", "moe_num_experts", "num_local_experts"):
            value = getattr(module, name, None)
            if isinstance(value, int):
                return value
    return sum(1 for _ in experts.children())


def identity_experts(experts: nn.Module) -> int:
    """Return how many experts, the last ones, return their input (LongCat-Flash's zero-computation experts)."""
    number = getattr(experts, "zero_expert_num", 0)
    return number if isinstance(number, int) else 0


def looks_up(router: nn.Module, top_k: int) -> bool:
    """Whether a router holds a table of expert ids for each token id (DeepSeek-V4's first layers)."""
    return any(
        table.ndim == 2 and table.shape[1] == top_k and not table.is_floating_point()
        for table in router.buffers(recurse=False)
    )


def bias_sources(candidate: Candidate, experts: int) -> dict[str, tuple[nn.Module, str]]:
    """Return parameters and buffers of E elements in the block, outside the experts."""
    sources: dict[str, tuple[nn.Module, str]] = {}
    inner = set(candidate.experts.modules())
    for path, module in candidate.block.named_modules():
        if module in inner:
            continue
        own: Sequence[tuple[str, Tensor]] = [
            *module.named_buffers(recurse=False),
            *module.named_parameters(recurse=False),
        ]
        for name, tensor in own:
            if tensor.numel() == experts and tensor.is_floating_point() and not tensor.is_meta:
                sources[f"{path}.{name}"] = (module, name)
    return sources
