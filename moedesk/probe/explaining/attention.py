"""A token's attention weights, where its model gives them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor

from moedesk.probe.explaining.rerun import Rerun


def attention_weights(rerun: Rerun) -> tuple[np.ndarray, np.ndarray, str]:
    """Return (A, heads, T) float64 weights of the token over those up to it, (A,) the layers they are of, and a line about them.

    Kernels don't keep attention weights, so the model runs once more with attention written out (``eager``), which rounds in
    another way; its setting is put back. Empty arrays, and why, where it can't.

    Parameters
    ----------
    rerun : Rerun
        Entered.
    """
    nothing = np.zeros((0, 0, 0)), np.zeros(0, np.int64)
    name = type(rerun.model).__name__
    config: Any = getattr(rerun.model, "config", None)
    if not hasattr(rerun.model, "set_attn_implementation") or config is None:
        return *nothing, f"no attention weights: {name} doesn't say how to ask for them"
    before = getattr(config, "_attn_implementation", None)
    try:
        with _written_out(rerun.model, before):
            output = rerun.run(output_attentions=True)
        given = getattr(output, "decoder_attentions" if rerun.side else "attentions", None)
    except Exception as error:  # whatever a family does not support
        return *nothing, f"no attention weights: {name} can't give them ({type(error).__name__})"
    length = len(rerun.passage.ids)
    rows, places = [], []
    for place, weights in enumerate(given or ()):
        if isinstance(weights, Tensor) and weights.ndim == 4 and weights.shape[-1] == length:
            rows.append(weights[0, :, -1].double().cpu().numpy())
            places.append(place)
    if not rows or len({len(row) for row in rows}) > 1:
        return *nothing, f"no attention weights: {name} gives none"
    how = "" if before == "eager" else f", from a run with eager attention in place of {before}"
    return (
        np.stack(rows),
        np.array(places, np.int64),
        f"attention weights are of the token, over all tokens up to it{how}",
    )


@contextmanager
def _written_out(model: Any, before: str | None) -> Iterator[None]:
    """The model with attention that keeps its weights."""
    if before == "eager":
        yield
        return
    name = "_attn_implementation_internal"  # what the setter sets, which would set that of parts as well
    kept = [(config, vars(config)[name]) for config in _configs(model) if name in vars(config)]
    try:
        model.set_attn_implementation("eager")
        yield
    finally:
        for config, implementation in kept:
            setattr(config, name, implementation)


def _configs(model: Any) -> list[Any]:
    """The configurations of a model and its parts, each once."""
    found: dict[int, Any] = {}
    for module in model.modules():
        waiting = [getattr(module, "config", None)]
        while waiting:
            config = waiting.pop()
            if config is not None and id(config) not in found:
                found[id(config)] = config
                waiting += [getattr(config, part, None) for part in getattr(config, "sub_configs", {})]
    return list(found.values())
