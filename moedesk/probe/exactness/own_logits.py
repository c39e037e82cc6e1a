"""Captured router logits against those that the model returns itself, where it does."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moedesk.core.batch import LayerRoutes
from moedesk.core.verification import Check, CheckName, Verdict
from moedesk.probe.exactness.untouched import Untouched
from moedesk.probe.finding.probabilities import to_logits

NAMES = ("router_logits", "encoder_router_logits", "decoder_router_logits")


def check_logits(
    untouched: Untouched, model: nn.Module, inputs: Mapping[str, Any], captured: Sequence[LayerRoutes]
) -> dict[int, Check]:
    """Return the check of each captured layer, by its place.

    Parameters
    ----------
    untouched : Untouched
        Entered.
    model : Module
    inputs : mapping
    captured : sequence of LayerRoutes
        Of a pass with these inputs, with logits, in the order of the layers.
    """
    own, reason = _own_logits(untouched, model, inputs)
    if not reason and len(own) != len(captured):
        reason = f"the model returns router logits of {len(own)} layers, {len(captured)} ran"
    checks = {}
    for place, routes in enumerate(captured):
        checks[routes.layer] = (
            Check(CheckName.LOGITS, Verdict.NOT_CHECKED, reason) if reason else _compare(own[place], routes.logits)
        )
    return checks


def _own_logits(untouched: Untouched, model: nn.Module, inputs: Mapping[str, Any]) -> tuple[list[Tensor], str]:
    """The logits in the model's order, or why there are none."""
    none = "the model returns no router logits of its own"
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    if not any(hasattr(part, "output_router_logits") for part in (config, text)):
        return [], none
    try:
        output = untouched.run({**inputs, "output_router_logits": True})
    except Exception as error:  # a family whose own option is broken is still captured
        return [], f"the model can't return its router logits: {type(error).__name__}"
    found = [tensor for name in NAMES for tensor in _tensors(getattr(output, name, None))]
    return (found, "") if found else ([], none)


def _tensors(value: Any) -> Iterator[Tensor]:
    """One tensor for each layer; of a layer that returns several (Switch: logits and ids), the first."""
    for item in value if isinstance(value, tuple | list) else ():
        first = item[0] if isinstance(item, tuple | list) and item else item
        if isinstance(first, Tensor) and first.ndim >= 2:
            yield first


def _compare(own: Tensor, captured: np.ndarray | None) -> Check:
    if captured is None:
        return Check(
            CheckName.LOGITS, Verdict.NOT_CHECKED, "no logits were captured: no module of the layer emits them"
        )
    given = torch.from_numpy(np.array(captured, np.float32))
    if own.numel() != given.numel():
        text = f"the model returns {_shape(own)}, {_shape(given)} was captured"
        return Check(CheckName.LOGITS, Verdict.NOT_CHECKED, text)
    own = own.detach().cpu().float().reshape(given.shape)
    if bool((own == given).all()):
        return Check(CheckName.LOGITS, Verdict.VERIFIED, "those that the model returns itself, bit by bit", 0.0, 0.0)
    if bool((to_logits(own) == given).all()):
        text = "those that the model returns itself, which are probabilities: captured are their logarithms"
        return Check(CheckName.LOGITS, Verdict.VERIFIED, text, 0.0, 0.0)
    apart = (own - given).abs().amax(-1)
    row = int(apart.argmax())
    text = f"they differ from those that the model returns, by {float(apart[row]):.3g} at most, in token row {row}"
    return Check(CheckName.LOGITS, Verdict.FAILED, text, float(apart[row]), 0.0)


def _shape(tensor: Tensor) -> str:
    return "×".join(str(size) for size in tensor.shape)
