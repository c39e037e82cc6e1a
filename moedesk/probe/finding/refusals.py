"""Models whose modules are not called when they run: hooks would never fire, so they are refused by name."""

from typing import Any

import torch
from torch import nn

from moedesk.core.errors import MoedeskError


def refuse_unhookable(model: Any) -> None:
    """Raise ``MoedeskError`` if hooks on the model's modules would see nothing, or not all."""
    if not isinstance(model, nn.Module):
        kind = type(model).__name__
        if kind == "ExportedProgram":
            raise MoedeskError(f"{kind} can't be hooked: {_CURE}")
        raise MoedeskError(f"a torch.nn.Module is needed, such as a transformers model, not {kind}")
    for path, module in model.named_modules():
        reason = _reason(module)
        if reason:
            raise MoedeskError(f"{path or 'the model'} ({type(module).__name__}) can't be hooked: {reason}")


_CURE = "it is a graph that calls no modules; hook the model that it was made from"


def _reason(module: nn.Module) -> str:
    if isinstance(module, torch.jit.ScriptModule):
        return "its compiled code calls no Python; hook the model that it was made from"
    if isinstance(module, torch.fx.GraphModule):
        return _CURE
    if getattr(module, "_hf_tp_plan", "") == "ep_router":
        return (
            "its expert parallelism tells each process only which of its own experts a token goes to; newer releases of "
            "transformers keep the numbers of all experts"
        )
    if isinstance(module, nn.DataParallel) and len(module.device_ids) > 1:
        return "it runs copies of the model in several threads at once; use DistributedDataParallel, or .module on one device"
    return ""
