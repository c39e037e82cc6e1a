"""The shipped models against their reference counts (tests/data/reference_counts.json says how those were made)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moedesk.core.resources import resource
from moedesk.probe.load import load
from tests.support.gathered import gather

REFERENCE = json.loads((Path(__file__).parent.parent / "data" / "reference_counts.json").read_text())
FILES = {
    "tinymoe": [f"{domain}/01.txt" for domain in REFERENCE["models"]["tinymoe"]["domains"]],
    "tinymoe-sick": ["english/01.txt", "math/06.txt"],
}


@pytest.mark.parametrize("name", ["tinymoe", "tinymoe-sick"])
def test_counts_are_the_reference_counts(name: str) -> None:
    """Windows of 256 in float32. Another machine's kernels may decide a near-tie otherwise, and only that."""
    model, tokenizer = load({"tinymoe": "sample", "tinymoe-sick": "sample-sick"}[name])
    window = REFERENCE["protocol"]["window"]
    for file in FILES[name]:
        expected = REFERENCE["models"][name]["files"][file]
        ids = tokenizer(resource("sample", "domains", *file.split("/")).read_text()).input_ids
        own = np.zeros((6, 16), np.int64)
        recording, gathered = gather(model)
        with torch.no_grad(), recording:
            for start in range(0, len(ids), window):
                out = model(torch.tensor([ids[start : start + window]]), output_router_logits=True)
                for layer, logits in enumerate(out.router_logits):
                    own[layer] += np.bincount(logits.softmax(-1).topk(2).indices.reshape(-1), minlength=16)
        counts = np.stack([gathered.counts(layer) for layer in range(6)])
        np.testing.assert_array_equal(counts, own, err_msg=f"{file}: not what the model itself says")
        assert len(ids) == expected["tokens"]
        moved = np.abs(counts - np.array(expected["counts"])).sum()
        assert moved <= 2 * expected["near_ties"] * (name == "tinymoe") or moved == 0, file


def test_the_text_of_a_recording_is_the_text_that_went_in(sample: tuple[Any, Any], tmp_path: Path) -> None:
    import moedesk

    model, tokenizer = sample
    text = "Der Hüne sagt: «naïve café» — 東京 🎉\n\tdef f(x): return x²"
    with torch.no_grad(), moedesk.record(model, tmp_path / "run.h5", tokenizer=tokenizer):
        ids = tokenizer(text, return_tensors="pt").input_ids
        model(ids)
    with moedesk.open(tmp_path / "run.h5") as capture:
        assert capture.text(0, ids.shape[1]) == text
        assert capture.model.tokenizer
