"""Captures without a fault: the healthy sample, tiny models of other families recorded here, and parts of them.

A random model may well have a dead or a hot expert. So families are used whose random routers share their load out, or whose
selection bias evens it, as training does it. That a capture is clean is held by ``test_clean.py`` with numbers of its own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from moedesk.capture.open import open_capture
from moedesk.core.resources import resource
from moedesk.probe.record import record
from tests.anomalies.array_store import ArrayStore
from tests.support.families import FAMILIES, build

RECORDED: dict[str, dict[str, Any]] = {
    "olmoe": {},
    "qwen3_moe": {"num_experts": 16, "num_experts_per_tok": 4},
    "mixtral": {},
    "gpt_oss": {},
    "granitemoe": {},
    "qwen2_moe": {},
    "deepseek_v3": {},
    "minimax_m2": {},
}
"""Families, and what of their tiny configuration differs."""
PASSES, BATCH, LENGTH = 12, 8, 32
UPDATES = 12
"""Rounds in which a selection bias is moved towards an even load."""


def recorded(folder: Path) -> list[ArrayStore]:
    """The families' captures, logits and padded rows included."""
    captures = []
    for name, changes in RECORDED.items():
        model = build(name, **changes)
        even_out(model, name, folder)
        captures.append(_record(model, name, folder / f"{name}.h5", seed=7))
    return captures


def even_out(model: nn.Module, name: str, folder: Path) -> None:
    """Move each selection bias against the load, as auxiliary-loss-free balancing does (arXiv 2408.15664)."""
    biases = [
        tensor
        for key, tensor in [*model.named_parameters(), *model.named_buffers()]
        if "e_score_correction_bias" in key
    ]
    for update in range(UPDATES if biases else 0):
        capture = _record(model, name, folder / "update.h5", seed=100 + update, passes=4)
        for bias, counts in zip(biases, capture.exact, strict=True):
            load = counts.sum(0) / counts.sum() * counts.shape[1]
            bias.data -= torch.tensor(0.1 / (1 + update / 4) * (load - 1), dtype=bias.dtype)


def sample() -> ArrayStore:
    """The shipped capture of the healthy model."""
    with open_capture(resource("sample", "tinymoe.h5")) as capture:
        return ArrayStore.of(capture, "tinymoe")


def parts(whole: ArrayStore, number: int, seed: int, least: float = 0.25) -> Iterator[ArrayStore]:
    """Random parts of a capture: sequences stay whole; every other part has them in another order."""
    rng = np.random.default_rng(seed)
    texts = _texts(whole)
    for part in range(number):
        chosen = rng.permutation(len(texts))[: max(2, round(len(texts) * rng.uniform(least, 1)))]
        chosen = chosen if part % 2 else np.sort(chosen)
        passes = [place for text in chosen.tolist() for place in texts[text]]
        yield whole.of_passes(passes, f"{whole.name}, part {part}")


def clean_captures(folder: Path, from_sample: int = 15, from_each: int = 3) -> list[ArrayStore]:
    """All of them: the whole ones first."""
    whole = [sample(), *recorded(folder)]
    cut = list(parts(whole[0], from_sample, seed=1))
    for number, one in enumerate(whole[1:]):
        cut += parts(one, from_each, seed=10 + number, least=0.5)
    return whole + cut


def _texts(store: ArrayStore) -> list[list[int]]:
    """Passes that share a sequence, in the order of their first."""
    group: dict[int, int] = {}
    texts: dict[int, list[int]] = {}
    for place, span in enumerate(store.spans[store._main]):
        sequences = np.unique(store.tokens["sequence"][span["first"] : span["first"] + span["count"]]).tolist()
        known = next((group[one] for one in sequences if one in group), place)
        group.update(dict.fromkeys(sequences, known))
        texts.setdefault(known, []).append(place)
    return list(texts.values())


def _record(model: nn.Module, name: str, path: Path, seed: int, passes: int = PASSES) -> ArrayStore:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad(), record(model, path, logits=True):
        for number in range(passes):
            ids = torch.randint(3, 100, (BATCH, LENGTH), generator=generator)
            mask = torch.ones_like(ids)
            if number % 2 and not FAMILIES[name].inputs:
                lengths = torch.randint(LENGTH // 2, LENGTH + 1, (BATCH, 1), generator=generator)
                mask = (torch.arange(LENGTH) < lengths).to(ids.dtype)
                ids = ids * mask
            model(**FAMILIES[name].arguments(ids), attention_mask=mask)
    with open_capture(path) as capture:
        return ArrayStore.of(capture, name)
