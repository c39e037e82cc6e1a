"""What the routers of models of many kinds read: the parts that their logits are split into, which add up."""

import numpy as np
import pytest

from moedesk.probe.explaining.passage import passage_of_ids
from moedesk.probe.explaining.why import why
from tests.support.families import FAMILIES, why_page

IDS = [11, 57, 23, 80]

PARTS = {
    "dbrx": "embedding, attention 0, MoE 0, attention 1",  # norms and residual within one module
    "deepseek_v4": "embedding, attention 0, MoE 0, attention 1",  # streams mixed by coefficients that they make
    "doge": "embedding, attention 0, MoE 0, attention 1",  # logits that only its adapter adds up
    "gemma4": "embedding, attention 0, MLP 0, MoE 0, attention 1",  # probabilities; norms after each part
    "inkling2": "embedding, layer 0, attention 1, post_attention_convolution 1",  # attention over blocks
    "llama4": "embedding, attention 0, MoE 0, attention 1",  # a sum in place
    "longcat_flash": (
        "embedding, attention 0 (self_attn.0), MoE 0, MLP 0 (mlps.0), attention 0 (self_attn.1), MLP 0 (mlps.1), attention 1"
    ),
    "qwen4_exp": "embedding, mixer 0, MoE 0, attention 1",  # gates as wide as the stream
    "zaya": "embedding, attention 0, MoE 0, attention 1, bias",  # a router of several layers that reads the one before
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_models_of_many_kinds_add_up(name: str) -> None:
    found = why(FAMILIES[name].build(), passage_of_ids(IDS), 1)
    assert found.complete
    assert np.abs(found.remainder).max() < 1e-5 < np.abs(found.contributions).max()
    assert ", ".join(component.name for component in found.components) == PARTS[name]


def test_the_page_has_every_family() -> None:
    listed = [line.split(" | ")[0].removeprefix("| ") for line in why_page.PAGE.read_text().splitlines()]
    assert set(FAMILIES) <= set(listed)
