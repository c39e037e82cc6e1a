"""Training steps in a capture: what was appended comes back, live, from the file, saved, recovered; and from older captures."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import moedesk
from moedesk.capture.recovery import recover
from moedesk.capture.save import save_capture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.columns import STEP, Phase
from moedesk.core.store import Store
from moedesk.core.training import LayerNorms, TrainingStep
from tests.support.routing import Plain, random_batch, random_model

PASSES = 3


def random_step(number: int, plain: Plain, some: bool = True) -> TrainingStep:
    """A step with norms of every second layer, or of none."""
    rng = np.random.default_rng(number)
    row = np.array((number, 0, 0, number * 7, *rng.random(5)), STEP)
    layers = [layer for layer in plain.model.layers if some and layer.place % 2 == 0]
    return TrainingStep(
        row,
        tuple(
            LayerNorms(layer.place, *rng.random((2, layer.experts)).astype(np.float32), *rng.random(2).tolist())
            for layer in layers
        ),
    )


def write_steps(writer: CaptureWriter, plain: Plain, first: int, steps: int) -> list[TrainingStep]:
    """Each of three training passes, the second with an evaluation pass in between; the even ones with norms."""
    written = []
    for number in range(first, first + steps):
        for part in range(PASSES + (number % 2)):
            batch = random_batch((number, part), plain.model, 30)
            evaluation = number % 2 and part == 1
            batch.header["phase"], batch.header["step"] = (Phase.EVAL, -1) if evaluation else (Phase.TRAIN, number)
            writer.append(plain.add(batch))
        written.append(random_step(number, plain, some=number % 2 == 0))
        writer.append_step(written[-1])
    return written


def check(store: Store, plain: Plain, written: list[TrainingStep]) -> None:
    rows = store.read_steps()
    assert store.n_steps == len(rows) == len(written)
    for name in ("step", "t_ns", "loss", "aux_loss", "learning_rate", "grad_norm", "epoch"):
        np.testing.assert_array_equal(rows[name], [step.row[name] for step in written])
    headers = store.read_passes()
    for row in rows:
        own = np.flatnonzero(headers["step"] == row["step"])
        assert (row["first_pass"], row["last_pass"]) == (own[0], own[-1] + 1)
    for layer in plain.model.layers:
        found = [next((norms for norms in step.layers if norms.layer == layer.place), None) for step in written]
        nothing = np.full(layer.experts, np.nan)
        for read, name in ((store.gradients, "gradients"), (store.output_norms, "outputs")):
            expected = [nothing if norms is None else getattr(norms, name) for norms in found]
            np.testing.assert_array_equal(read(layer), np.array(expected, np.float32).reshape(-1, layer.experts))
            np.testing.assert_array_equal(read(layer, 1, 2), np.array(expected, np.float32)[1:2])
        for read_one, name in ((store.router_gradients, "router"), (store.shared_gradients, "shared")):
            singles = [np.nan if norms is None else getattr(norms, name) for norms in found]
            np.testing.assert_array_equal(read_one(layer), np.array(singles, np.float32))


@pytest.mark.parametrize("compress", [True, False])
def test_round_trip(tmp_path: Path, compress: bool) -> None:
    """With a layer that turns up after the first norms, and more steps than a chunk of norms holds."""
    plain = Plain(random_model(3, 2000, 2))
    path = tmp_path / "a.h5"
    with CaptureWriter(path, compress=compress) as writer:
        live = writer.live()
        writer.describe(plain.model)
        written = write_steps(writer, plain, 0, 5)
        writer.describe(plain.grow(2, 16, 2, "main"))
        written += write_steps(writer, plain, 5, 40)
        writer.flush()
        live.publish()
        check(live, plain, written)
        assert len(live.steps) == 45
        save_capture(live, tmp_path / "saved.h5", lambda share: None)
    live.close()
    for name in ("a.h5", "saved.h5"):
        with moedesk.open(tmp_path / name) as capture:
            check(capture, plain, written)
            assert capture.steps[3]["step"] == 3


def test_without_training_there_is_nothing(tmp_path: Path) -> None:
    plain = Plain(random_model())
    with CaptureWriter(tmp_path / "a.h5") as writer:
        writer.describe(plain.model)
        writer.append(random_batch((1,), plain.model, 30))
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.n_steps == len(capture.read_steps()) == 0
        assert capture.gradients(0).shape == (0, 16)
        assert capture.router_gradients(0).shape == (0,)


def test_a_capture_from_before_steps(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    plain = Plain(random_model())
    with CaptureWriter(path) as writer:
        writer.describe(plain.model)
        writer.append(random_batch((1,), plain.model, 30))
    with h5py.File(path, "r+") as file:
        del file["steps"]
    with moedesk.open(path) as capture:
        assert capture.n_steps == len(capture.read_steps()) == 0
        assert capture.output_norms(1).shape == (0, 16)
        save_capture(capture, tmp_path / "b.h5", lambda share: None)
    with moedesk.open(tmp_path / "b.h5") as capture:
        assert (capture.n_passes, capture.n_steps) == (1, 0)


def test_steps_of_the_same_number_are_told_apart(tmp_path: Path) -> None:
    """As when a model is attached a second time, and its steps begin anew."""
    model = random_model(1)
    with CaptureWriter(tmp_path / "a.h5") as writer:
        writer.describe(model)
        for part in range(2):
            batch = random_batch((part,), model, 10)
            batch.header["step"] = 0
            writer.append(batch)
            writer.append_step(TrainingStep(np.array((0, 0, 0, 0, *[np.nan] * 5), STEP)))
        writer.append_step(TrainingStep(np.array((1, 0, 0, 0, *[np.nan] * 5), STEP)))
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.read_steps()[["first_pass", "last_pass"]].tolist() == [(0, 1), (1, 2), (2, 2)]


def test_a_step_that_does_not_fit_stops_the_writer(tmp_path: Path) -> None:
    plain = Plain(random_model())
    other = Plain(random_model(3, 8))
    with CaptureWriter(tmp_path / "a.h5") as writer:
        writer.describe(plain.model)
        writer.append_step(random_step(0, plain))
        writer.append_step(random_step(0, other))
        writer.flush()
        assert "instead of" in (writer.stopped or "")
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.n_steps == 1


def write_until_killed(path: str) -> None:
    plain = Plain(random_model())
    writer = CaptureWriter(path)
    writer.describe(plain.model)
    write_steps(writer, plain, 0, 300)
    writer.flush()
    write_steps(writer, plain, 300, 20)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_kill_leaves_whole_steps(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    code = f"from tests.capture.test_steps import write_until_killed; write_until_killed({str(path)!r})"
    root = Path(__file__).resolve().parent.parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == -signal.SIGKILL
    plain = Plain(random_model())
    with CaptureWriter(tmp_path / "whole.h5") as writer:
        writer.describe(plain.model)
        written = write_steps(writer, plain, 0, 320)
    for killed in (path, recover(path)):
        with moedesk.open(killed) as capture:
            assert capture.n_steps >= 300
            check(capture, plain, written[: capture.n_steps])
