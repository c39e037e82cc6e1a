"""Someone who follows docs/training.md gets what it says."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import moedesk
from tests.support.families import build

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "training.md"


def run(snippet: int, names: dict[str, Any]) -> dict[str, Any]:
    """Run a snippet of the page."""
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[snippet]
    exec(code, names)
    return names


def test_a_loop_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = build("olmoe").train()
    ids = torch.randint(3, 100, (4, 2, 9), generator=torch.Generator().manual_seed(0))
    names = {
        "model": model, "tokenizer": None, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "batches": [{"input_ids": batch, "labels": batch} for batch in ids],
    }  # fmt: skip
    run(1, run(0, names))
    names["capture"].close()
    assert names["steps"]["step"].tolist() == [0, 1, 2, 3]
    assert names["gradients"].shape == names["outputs"].shape == (4, 8)
    assert np.isfinite(names["router"]).all()
    assert np.isfinite(names["steps"]["aux_loss"]).all()
    assert capsys.readouterr().out


def test_with_a_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("accelerate")
    from transformers import TrainingArguments

    monkeypatch.chdir(tmp_path)
    ids = torch.randint(3, 100, (8, 9), generator=torch.Generator().manual_seed(0))
    arguments = TrainingArguments(
        str(tmp_path / "out"), max_steps=2, per_device_train_batch_size=2, report_to=[], use_cpu=True, disable_tqdm=True,
        save_strategy="no",
    )  # fmt: skip
    data = [{"input_ids": row, "labels": row} for row in ids]
    run(2, {"moedesk": moedesk, "model": build("olmoe"), "arguments": arguments, "data": data})
    with moedesk.open("trainer.h5") as capture:
        assert capture.read_steps()["step"].tolist() == [1, 2]
        assert np.isfinite(capture.read_steps()["loss"]).all()
