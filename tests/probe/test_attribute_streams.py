"""Direct attribution where several residual streams are mixed: every write is followed to the logit by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu

from moedesk.probe.explaining.attribute import attribute
from moedesk.probe.explaining.passage import passage_of_ids
from tests.support.families import some_ids

TARGET, STREAMS = 5, 4
PARTS = {"self_attn": "attention", "linear_attn": "mixer", "mlp": "block"}
CONNECTIONS = {"deepseek_v4": ("attn_hc", "ffn_hc"), "hy_v4": ("attn_hc", "ffn_hc")}
GATED = ("attn_hyper_connection", "mlp_hyper_connection")


class Run:
    """What modules got and returned in one forward, at the last token, in float64."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._kept: dict[str, Any] = {}
        handles = [m.register_forward_hook(self._keeper(path)) for path, m in model.model.named_modules()]
        with torch.no_grad():
            self.logit = float(model(some_ids(1)).logits[0, -1, TARGET])
        for handle in handles:
            handle.remove()

    def _keeper(self, path: str) -> Callable[..., None]:
        return lambda module, args, output: self._kept.__setitem__(path, (args, output))

    def given(self, path: str) -> Tensor:
        return self._last(self._kept[path][0][0])

    def returned(self, path: str, place: int = 0) -> Tensor:
        output = self._kept[path][1]
        return self._last(output[place] if isinstance(output, tuple) else output)

    def results(self, path: str) -> int:
        return len(self._kept[path][1])

    def _last(self, tensor: Tensor) -> Tensor:
        return (tensor[0] if tensor.shape[0] == 1 else tensor)[-1].detach().double()

    def has(self, path: str) -> bool:
        return path in self._kept


def followed(run: Run, connections: tuple[str, str], post: int) -> dict[str, Tensor]:
    """What of the (n, D) streams at the end is from each part: written ``post`` times, mixed by what is behind it."""
    streams = {"embedding": run.returned("embed_tokens").expand(STREAMS, -1)}
    for number in range(len(run.model.model.layers)):
        writers = [part for part in PARTS if run.has(f"layers.{number}.{part}")]
        for part, connection in zip(writers, connections, strict=True):
            path = f"layers.{number}.{connection}"
            if run.results(path) == 3 and post == 0:  # DeepSeek's matrix
                matrix = run.returned(path, 1).T
                streams = {name: matrix @ stream for name, stream in streams.items()}
            row = run.returned(f"layers.{number}.{part}").flatten()
            streams[f"{PARTS[part]} {number}"] = run.returned(path, post)[:, None] * row
    return streams


def collapsed(run: Run) -> Tensor:
    """(n, D) slopes of the logit: what the streams are summed up with, solved from what came out, the norm's and the head's."""
    made = run.returned("hc_head")
    factors = torch.linalg.lstsq(run.given("hc_head").T, made[:, None]).solution
    norm = run.model.model.norm
    return factors * norm.weight.detach().double() / (made.square().mean() + norm.variance_epsilon).sqrt()


def gated(run: Run) -> Tensor:
    """The same where streams are normed, each element is multiplied by a gate, and their mean is taken."""
    mixer = run.model.model.hyper_connection_mixer
    streams = run.given("hyper_connection_mixer").unflatten(-1, (STREAMS, -1))
    gain = 1 + mixer.hc_norm.weight.detach().double().unflatten(-1, (STREAMS, -1))
    scale = gain / (streams.square().mean(-1, keepdim=True) + mixer.hc_norm.eps).sqrt()
    down, up = (each.weight.detach().double() for each in (mixer.input_mix_weight_down, mixer.input_mix_weight_up))
    gate = torch.sigmoid(up @ silu(down @ (streams * scale).flatten() / STREAMS)).unflatten(-1, (STREAMS, -1))
    return gate * scale / STREAMS


@pytest.mark.parametrize("name", ["deepseek_v4", "hy_v4", "qwen4_exp"])
def test_each_write_is_followed_through_the_mixed_streams(family: Any, name: str) -> None:
    model = family(name)
    run = Run(model)
    streams = followed(run, CONNECTIONS.get(name, GATED), 0 if name in CONNECTIONS else 2)
    slopes = (collapsed if name in CONNECTIONS else gated)(run) * model.lm_head.weight[TARGET].detach().double()
    expected = {part: float((slopes * stream).sum()) for part, stream in streams.items()}
    assert sum(expected.values()) == pytest.approx(run.logit, abs=1e-6)

    found = attribute(model, passage_of_ids(some_ids(1)[0]), target=TARGET, method=("direct", "gradient"))
    assert found.complete
    assert found.tolerance < 1e-5
    given = dict.fromkeys(expected, 0.0)
    for component, value in zip(found.components, found.component_direct.tolist(), strict=True):
        block = component.kind in ("shared", "mlp", "other")
        given[f"block {component.block}" if block else component.name] += value
    first = len(model.model.layers) - len(found.layers)
    for row, values in enumerate(found.direct):
        given[f"block {first + row}"] += float(np.nansum(values))
    assert given == pytest.approx(expected, abs=1e-6)
    assert "as they are at this token" in repr(found)
