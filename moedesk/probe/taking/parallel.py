"""Several processes that run one model together: which of them this is, and what it shares with the others."""

import os
import re
from pathlib import Path
from typing import Any

from torch import Tensor, distributed, nn


def rank() -> int:
    """Return the number of this process among those started together; 0 if it is alone."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank()
    given = os.environ.get("RANK", "")  # of torchrun; the group itself may begin later
    return int(given) if given.isdigit() and os.environ.get("WORLD_SIZE", "1") != "1" else 0


def own_path(path: Path) -> Path:
    """Return where this process records when all were given one path: with ``.rank1`` and so on from the second one on."""
    number = rank()
    mine = not number or re.search(rf"rank[-_]?0*{number}$", path.stem)
    return path if mine else path.with_name(f"{path.stem}.rank{number}{path.suffix}")


def repeats_tokens(model: nn.Module) -> bool:
    """Whether a process before this one runs the same tokens, and so has the same routing: under tensor parallelism.

    Expert parallelism of transformers takes the same tokens within a group of tensor parallelism, others outside.
    """
    parts = model.modules()
    meshes = [mesh for part in parts if (mesh := getattr(part, "_device_mesh", None)) is not None]
    meshes += [
        mesh for parameter in model.parameters() if (mesh := getattr(parameter, "device_mesh", None)) is not None
    ]
    return any(_place_in(mesh, "tp") > 0 for mesh in dict.fromkeys(meshes))


def is_spread(parameter: Tensor) -> bool:
    """Whether other processes hold parts of a parameter, or of its gradient: a DTensor, or one that FSDP flattened."""
    if hasattr(parameter, "full_tensor") or getattr(parameter, "_fsdp_flattened", False):
        return True
    return hasattr(parameter.grad, "full_tensor")


def has_spread(module: nn.Module) -> bool:
    """Whether other processes hold parts of a module."""
    return any(hasattr(p, "full_tensor") or getattr(p, "_fsdp_flattened", False) for p in module.parameters())


def _place_in(mesh: Any, name: str) -> int:
    """The place of this process in one dimension of a mesh; 0 if there is none of that name."""
    if name not in (getattr(mesh, "mesh_dim_names", None) or ()):
        return 0
    return int(mesh.get_local_rank(name))
