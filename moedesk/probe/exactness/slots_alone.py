"""The slots of one token row, each alone: the experts are called with a copy of the row for each slot, the others weighing 0."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from moedesk.core.errors import MoedeskError
from moedesk.probe.finding.parts import first_tensor
from moedesk.probe.finding.routing import ExpertsCall


def slots_alone(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], call: ExpertsCall, row: int
) -> Tensor:
    """Return (k, H): what each slot of a token row gives, its expert's output times its weight.

    Parameters
    ----------
    module : Module
        The experts; its forward is called, without hooks.
    args, kwargs
        Of its call.
    call : ExpertsCall
        Read from them.
    row : int
        Of the call's token rows.

    Raises
    ------
    MoedeskError
        If the module returns other rows than it was given.
    """
    top_k = call.top_k
    given = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
    hidden = call.hidden[row].expand(top_k, -1).contiguous()
    weights = torch.diag(call.weights.detach()[row])
    choice = call.choice.detach()[row].unsqueeze(0)
    new = {
        id(given): hidden if given.ndim == 2 else hidden[None],
        id(call.weights): weights,
        id(call.choice): choice.expand(top_k, *choice.shape[1:]).contiguous(),
    }
    positional = (new.get(id(value), value) for value in args)
    output = first_tensor(module.forward(*positional, **{name: new.get(id(v), v) for name, v in kwargs.items()}))
    if output is None or output.numel() % top_k:
        raise MoedeskError(f"{type(module).__name__} doesn't run on one token alone")
    return output.detach().reshape(top_k, -1)
