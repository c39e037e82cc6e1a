"""``TrainerCallback``: steps numbered as in the Trainer's log, what is kept of which, how it ends; with the real one too."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.optimizer import _global_optimizer_pre_hooks

import moedesk
from moedesk.core.columns import PassFlag, Phase
from moedesk.core.errors import MoedeskError
from moedesk.probe.attach import attach, attached
from tests.support.families import build
from tests.support.gathered import Gathered
from tests.support.training import SmallTrainer, some_batch

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = ("loss", "learning_rate", "grad_norm", "epoch")


def test_steps_are_those_of_the_log(tmp_path: Path) -> None:
    model = build("olmoe")
    callback = moedesk.TrainerCallback(tmp_path / "a.h5", every=2, backward=True)
    trainer = SmallTrainer(model, [callback], parts=2, eval_steps=2)
    trainer.train(5)
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.complete
        assert not capture.notes
        rows, headers = capture.read_steps(), capture.read_passes()
        log = trainer.state.log_history
        assert rows["step"].tolist() == [entry["step"] for entry in log] == [1, 2, 3, 4, 5]
        for name in NAMES:
            np.testing.assert_allclose(rows[name], [entry[name] for entry in log], rtol=1e-6, err_msg=name)
        assert (rows["aux_loss"] > 1).all()
        assert headers["step"].tolist() == [1, 1, 2, 2, -1, 3, 3, 4, 4, -1, 5, 5]
        assert [Phase(phase) for phase in headers["phase"][[1, 4]]] == [Phase.TRAIN, Phase.EVAL]
        kept = headers["flags"] & PassFlag.COUNTS_ONLY == 0
        assert kept.tolist() == [step in (1, 2, 4) for step in headers["step"]]
        for layer in capture.model.layers:
            assert (capture.counts(layer, by="pass").sum(axis=1) == 2 * 9 * layer.top_k).all()
            found = capture.router_gradients(layer)
            expected = [float(g[f"{layer.router_path}.weight"].norm()) for g in trainer.gradients]
            np.testing.assert_allclose(found[[0, 1, 3]], np.array(expected)[[0, 1, 3]], rtol=1e-5)
            assert np.isnan(found[[2, 4]]).all()
            assert np.isfinite(capture.output_norms(layer)[[1, 3]]).any()
    assert callback.recording is None
    assert not any(m._forward_pre_hooks for m in model.modules() if type(m).__name__ == "OlmoeExperts")


@pytest.mark.parametrize(
    ("others", "evaluation", "steps"),
    [
        ("nothing", "nothing", [1, 3]),
        ("counts", "nothing", [1, 2, 3, 4]),
        ("nothing", "all", [1, -1, 3, -1]),
        ("all", "counts", [1, 2, -1, 3, 4, -1]),
    ],
)
def test_what_is_kept_of_the_others(tmp_path: Path, others: Any, evaluation: Any, steps: list[int]) -> None:
    callback = moedesk.TrainerCallback(tmp_path / "a.h5", every=3, others=others, evaluation=evaluation)
    SmallTrainer(build("olmoe"), [callback], eval_steps=2).train(4)
    with moedesk.open(tmp_path / "a.h5") as capture:
        headers = capture.read_passes()
        assert headers["step"].tolist() == steps
        assert capture.read_steps()["step"].tolist() == [step for step in steps if step > 0]
        for header in headers:
            kept = "all" if header["step"] in (1, 3) else evaluation if header["step"] < 0 else others
            assert (header["flags"] & PassFlag.COUNTS_ONLY != 0) == (kept == "counts")


def test_a_loss_logged_over_several_steps_is_not_taken_for_one(tmp_path: Path) -> None:
    trainer = SmallTrainer(build("olmoe"), [moedesk.TrainerCallback(tmp_path / "a.h5", every=1)], logging_steps=2)
    trainer.train(4)
    with moedesk.open(tmp_path / "a.h5") as capture:
        np.testing.assert_allclose(capture.read_steps()["loss"], trainer.losses, rtol=1e-6)
        assert np.isnan(capture.read_steps()["grad_norm"]).tolist() == [True, False, True, False]


def test_the_trainers_loss_of_one_step_counts_if_it_differs_from_the_models(tmp_path: Path) -> None:
    """As of trainers that weigh the passes of a step without telling the model."""
    trainer = SmallTrainer(build("olmoe"), [moedesk.TrainerCallback(tmp_path / "a.h5", every=1)], parts=2, uneven=True)
    trainer.train(3)
    with moedesk.open(tmp_path / "a.h5") as capture:
        log = [entry["loss"] for entry in trainer.state.log_history]
        np.testing.assert_allclose(capture.read_steps()["loss"], log, rtol=1e-6)


def test_training_that_raises_is_finished_by_close_or_the_next(tmp_path: Path) -> None:
    model = build("olmoe")
    hooks = len(_global_optimizer_pre_hooks)
    callback = moedesk.TrainerCallback(tmp_path / "a.h5", every=1)
    with pytest.raises(RuntimeError, match="out of luck"):
        SmallTrainer(model, [callback], raise_at=3).train(4)
    callback.close()
    callback.close()
    assert len(_global_optimizer_pre_hooks) == hooks
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.complete
        assert capture.read_steps()["step"].tolist() == [1, 2, 3]
        assert np.isnan(capture.read_steps()["learning_rate"]).tolist() == [False, False, True]
    with pytest.raises(RuntimeError, match="out of luck"):
        SmallTrainer(model, [callback], raise_at=2).train(4)
    SmallTrainer(model, [callback]).train(2)
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.complete
        assert capture.read_steps()["step"].tolist() == [1, 2]


def test_a_script_that_raises_leaves_a_complete_capture(tmp_path: Path) -> None:
    code = (
        "import sys, moedesk\nfrom tests.support.training import SmallTrainer, build\n"
        "SmallTrainer(build('olmoe'), [moedesk.TrainerCallback(sys.argv[1], every=1)], raise_at=3).train(4)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.h5"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert run.stderr.rstrip().endswith("RuntimeError: out of luck")
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.complete
        assert capture.read_steps()["step"].tolist() == [1, 2, 3]


def test_a_kill_in_mid_training_leaves_a_readable_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.training", str(tmp_path / "a.h5")]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    while True:
        assert child.stdout.readline(), "it died by itself"
        if (tmp_path / "a.h5").exists():
            with moedesk.open(tmp_path / "a.h5") as capture:
                if capture.n_steps >= 4:
                    break
    os.kill(child.pid, signal.SIGKILL)
    child.stdout.close()
    child.wait()
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert not capture.complete
        rows, headers = capture.read_steps(), capture.read_passes()
        assert rows["step"].tolist() == [*range(1, len(rows) + 1)]
        for row in rows:
            assert headers["step"][row["first_pass"] : row["last_pass"]].tolist() == [row["step"]]
        assert np.isfinite(rows["loss"]).all()
        assert np.isfinite(capture.gradients(0)[1::2]).all()


def test_of_several_processes_the_first_records_or_each(tmp_path: Path) -> None:
    SmallTrainer(build("olmoe"), [moedesk.TrainerCallback(tmp_path / "a.h5")], rank=1, world=2).train(1)
    assert not list(tmp_path.iterdir())
    SmallTrainer(build("olmoe"), [moedesk.TrainerCallback(tmp_path / "a.h5", ranks="all")], rank=1, world=2).train(1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.rank1.h5"]
    with moedesk.open(tmp_path / "a.rank1.h5") as capture:
        assert capture.read_passes()["rank"].tolist() == [1]


def test_without_a_path_it_goes_to_the_attached_model() -> None:
    model, gathered = build("olmoe"), Gathered()
    attachment = attach(model, sink=gathered)
    SmallTrainer(model, [moedesk.TrainerCallback(every=2, backward=True)]).train(3)
    assert attached() == [attachment]
    model.eval()(**some_batch(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()(**some_batch(0)).loss.backward()
    optimizer.step()
    attachment.detach()
    assert [int(batch.header["step"]) for batch in gathered.batches] == [1, 2, 3, -1, 4]
    assert [int(step.row["step"]) for step in gathered.steps] == [1, 2, 3, 4]
    assert [len(step.layers) for step in gathered.steps] == [2, 2, 0, 0]
    flags = [bool(batch.header["flags"] & PassFlag.COUNTS_ONLY) for batch in gathered.batches]
    assert flags == [False, False, True, False, False]


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    for wrong in ({"every": 0}, {"others": "some"}, {"evaluation": True}, {"ranks": 1}):
        with pytest.raises(MoedeskError, match=next(iter(wrong))):
            moedesk.TrainerCallback(tmp_path / "a.h5", **wrong)  # type: ignore[arg-type]
    with pytest.raises(MoedeskError, match="no Mixture-of-Experts layer"):
        SmallTrainer(torch.nn.Linear(2, 2), [moedesk.TrainerCallback(tmp_path / "a.h5")]).train(1)
    assert not list(tmp_path.iterdir())


def test_the_real_trainer(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    from transformers import Trainer, TrainingArguments

    model = build("olmoe", output_router_logits=True)
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, 100, (24, 9), generator=generator)
    labels = torch.where(
        torch.rand(ids.shape, generator=generator) < 0.3, -100, ids
    )  # so that batches weigh differently
    data = [{"input_ids": row, "labels": label} for row, label in zip(ids, labels, strict=True)]
    arguments = TrainingArguments(
        str(tmp_path / "out"), max_steps=4, gradient_accumulation_steps=2, per_device_train_batch_size=2, logging_steps=1,
        report_to=[], eval_strategy="steps", eval_steps=2, use_cpu=True, disable_tqdm=True, save_strategy="no",
    )  # fmt: skip
    callback = moedesk.TrainerCallback(tmp_path / "a.h5", every=2, backward=True)
    trainer = Trainer(model, arguments, train_dataset=data, eval_dataset=data[:4], callbacks=[callback])
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    with moedesk.open(tmp_path / "a.h5") as capture:
        rows = capture.read_steps()
        assert rows["step"].tolist() == [entry["step"] for entry in log] == [1, 2, 3, 4]
        for name in NAMES:
            np.testing.assert_allclose(rows[name], [entry[name] for entry in log], rtol=1e-5, err_msg=name)
        assert np.isfinite(rows["aux_loss"]).all()
        assert capture.read_passes()["step"].tolist() == [1, 1, 2, 2, -1, 3, 3, 4, 4, -1]
        assert np.isfinite(capture.gradients(0)[[0, 1, 3]]).all()
