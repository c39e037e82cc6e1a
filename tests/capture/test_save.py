"""Saving a recording that goes on, one that was killed, and a finished capture."""

import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest

import moedesk
from moedesk.capture import pyramid
from moedesk.capture.recovery import recover
from moedesk.capture.save import save_capture
from moedesk.capture.schema import State
from moedesk.capture.writer import CaptureWriter
from moedesk.core.errors import CaptureError
from tests.support.killed import FLUSH_EVERY, check, kill_once
from tests.support.routing import Plain, random_batch, random_model
from tests.support.until import PATIENCE

ROOT = Path(__file__).resolve().parent.parent.parent
COLUMNS = ("experts", "weights", "entropy", "margin", "flags")


def assert_saved(path: Path, plain: Plain) -> None:
    """All of it, by moedesk and by h5py alone: uncovered passes must have got a block of their own."""
    with moedesk.open(path) as saved:
        assert saved.is_whole
        assert saved.model.layers == plain.model.layers
        assert saved.n_passes == len(plain.batches)
        np.testing.assert_array_equal(saved.read_passes()["t0_ns"], [batch.header["t0_ns"] for batch in plain.batches])
        for stream in plain.model.streams:
            np.testing.assert_array_equal(saved.read_tokens(stream=stream), plain.tokens(stream))
        for place in range(len(plain.model.layers)):
            for name in COLUMNS:
                np.testing.assert_array_equal(getattr(saved, name)(place), plain.column(name, place))
            np.testing.assert_array_equal(saved.counts(place, by="pass"), plain.counts(place))
            np.testing.assert_array_equal(saved.counts(place), plain.counts(place).sum(axis=0))
    with h5py.File(path, "r") as file:
        assert "tail" not in file
        for table in file["routes"].values():
            assert table["experts"].compression == "gzip"
            counts = table["counts/0"][()].sum(axis=0)
            for lane, place in enumerate(table["layers"][()].tolist()):
                np.testing.assert_array_equal(counts[lane], plain.counts(place).sum(axis=0))
        index = file["blocks/0"][()]
        assert index["first"].tolist() == [0, *(index["first"] + index["count"])[:-1].tolist()]
        assert index["count"].sum() == len(plain.batches)


def record(writer: CaptureWriter, plain: Plain, passes: int) -> None:
    """Passes of all kinds, with layers that come late."""
    writer.describe(plain.model)
    for number in range(passes):
        if number == 11:
            writer.describe(plain.grow(2, 200, 3, "encoder"))
        rows = int(np.random.default_rng(number).integers(0, 900))
        batch = random_batch((5, number), plain.model, rows, counts_only=number % 7 == 3, absent=(number % 5,))
        writer.append(plain.add(batch))
    writer.flush()


def test_a_recording_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "BLOCK_TOKENS", 2000)
    plain, path, target = Plain(random_model(3, 16, 2)), tmp_path / "live.h5", tmp_path / "saved.h5"
    vocabulary = {number: b"%d " % number for number in range(300)}
    with (
        CaptureWriter(path, lambda ids: [vocabulary[i] for i in ids], compress=False) as writer,
        closing(writer.live()) as live,
    ):
        record(writer, plain, 40)
        writer.note("a note")
        writer.flush()
        live.publish()
        later = random_batch((5, 40), plain.model, 5000)
        shares: list[float] = []

        def go_on(share: float) -> None:
            """The recording grows between any two chunks."""
            shares.append(share)
            if len(shares) == 3:
                writer.append(later)
                writer.flush()

        save_capture(live, target, go_on)
        assert shares == sorted(shares)
        assert shares[-1] == 1
        assert_saved(target, plain)
        with moedesk.open(target) as saved:
            assert saved.complete
            assert saved.notes == ("a note", "saved while the model was running; 40 passes")
            assert saved.text(0, 50) == live.text(0, 50)
        live.publish()
        plain.add(later)
        save_capture(live, target, lambda share: None)
        assert_saved(target, plain)
        writer.close()
        live.publish()
        save_capture(live, target, lambda share: None)
        assert_saved(target, plain)
        with moedesk.open(target) as saved:
            assert saved.complete
            assert saved.notes == ("a note",)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["live.h5", "saved.h5"]


@pytest.mark.parametrize("compress", [True, False])
def test_a_killed_one(tmp_path: Path, compress: bool) -> None:
    path, target = tmp_path / "a.h5", tmp_path / "saved.h5"
    _, handed = kill_once(path, 11, 0.3, 40, compress)
    left = check(path, 11, handed // FLUSH_EVERY * FLUSH_EVERY)
    before = path.read_bytes()
    with moedesk.open(path) as capture:
        save_capture(capture, target, lambda share: None)
        assert path.read_bytes() == before
        with moedesk.open(target) as saved:
            assert saved.contents.state == State.RECOVERED
            assert saved.notes == (f"the recording was cut short; {left:,} passes were recovered",)
            assert saved.model == capture.model
            np.testing.assert_array_equal(saved.read_passes(), capture.read_passes())
    assert check(target, 11, left) == left


def test_finished_captures(tmp_path: Path) -> None:
    """Compressed or not, with logits and float16; saved again it is the same file."""
    for compress in (True, False):
        model = random_model(2, 16, 2)
        path, target, again = (tmp_path / f"{name}{compress}.h5" for name in ("a", "b", "c"))
        with CaptureWriter(path, store_logits=True, weights="float16", compress=compress) as writer:
            writer.describe(model)
            for number in range(5):
                writer.append(random_batch((6, number), model, 3000, logits=True))
        with moedesk.open(path) as capture:
            save_capture(capture, target, lambda share: None)
            with moedesk.open(target) as saved:
                assert saved.complete
                for name in (*COLUMNS, "logits"):
                    np.testing.assert_array_equal(getattr(saved, name)(1), getattr(capture, name)(1))
                save_capture(saved, again, lambda share: None)
        assert again.read_bytes() == target.read_bytes()
        with h5py.File(path) as first, h5py.File(target) as second:
            assert first.attrs["created"] == second.attrs["created"]
            assert second["routes/0/logits"].dtype == np.float16


def test_nothing_recorded(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "a.h5", compress=False) as writer, closing(writer.live()) as live:
        save_capture(live, tmp_path / "b.h5", lambda share: None)
    with moedesk.open(tmp_path / "b.h5") as saved:
        assert (saved.n_passes, saved.model.layers, saved.complete) == (0, (), True)


class StoppedError(Exception):
    """What a cancelled job raises."""


def test_cancelled(tmp_path: Path) -> None:
    """Nothing is left of it, and what was there before stays."""
    target = tmp_path / "saved.h5"
    target.write_bytes(b"before")

    def stop(share: float) -> None:
        raise StoppedError

    with CaptureWriter(tmp_path / "a.h5", compress=False) as writer, closing(writer.live()) as live:
        record(writer, Plain(random_model()), 5)
        live.publish()
        with pytest.raises(StoppedError):
            save_capture(live, target, stop)
    assert target.read_bytes() == b"before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.h5", "saved.h5"]


def test_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with CaptureWriter(path, compress=False) as writer, closing(writer.live()) as live:
        (tmp_path / "link.h5").symlink_to(path)
        for target, said in (
            (path, "is the file being saved; save it under another name"),
            (tmp_path / "link.h5", "is the file being saved; save it under another name"),
            (tmp_path, "can't be saved: it is a folder"),
            (tmp_path / "none" / "b.h5", "can't be saved: there is no folder"),
        ):
            with pytest.raises(CaptureError, match=f"^{re.escape(str(target))} {said}") as caught:
                save_capture(live, target, lambda share: None)
            assert "\n" not in str(caught.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.h5", "link.h5"]


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
import moedesk
from moedesk.capture.save import save_capture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.errors import CaptureError
from tests.support.routing import Plain, random_batch, random_model

folder, what = Path(sys.argv[1]), sys.argv[2]
plain = Plain(random_model())
writer = CaptureWriter(folder / "a.h5", compress=False)
live = writer.live()
writer.describe(plain.model)
if what == "record":
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY))
for number in range(100):
    writer.append(plain.add(random_batch((31, number), plain.model, 500)))
    if number == 5:
        writer.flush()
writer.flush()
live.publish()
if what == "save":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    try:
        save_capture(live, folder / "b.h5", lambda share: None)
    except CaptureError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
else:
    print(writer.stopped)
    assert live.notes == (writer.stopped,) and not live.complete
    assert 5 < live.n_passes < 100
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
plain.batches = plain.batches[: live.n_passes]


def same(store):
    for place in range(3):
        for name in ("experts", "weights"):
            np.testing.assert_array_equal(getattr(store, name)(place), plain.column(name, place))
        np.testing.assert_array_equal(store.counts(place, by="pass"), plain.counts(place))


same(live)
save_capture(live, folder / "c.h5", lambda share: None)
with moedesk.open(folder / "c.h5") as saved:
    same(saved)
    print(saved.notes)
writer.close()
live.publish()
same(live)
live.close()
"""


def run_limited(folder: Path, what: str) -> list[str]:
    """Record or save where a file may not grow beyond a few megabytes; return what was said."""
    command = [sys.executable, "-W", "error", "-c", LIMITED, str(folder), what]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_no_room_for_the_saved_file(tmp_path: Path) -> None:
    """It says so, leaves nothing, and the recording goes on."""
    said = run_limited(tmp_path, "save")
    assert said[0] == f"{tmp_path / 'b.h5'} can't be saved: the file may not grow any more"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.h5", "c.h5"]


def test_no_room_for_the_recording(tmp_path: Path) -> None:
    """Everything published can still be read and saved, also what the disk did not take any more."""
    said = run_limited(tmp_path, "record")
    assert re.fullmatch(r"recording stopped after \d+ passes: the file may not grow any more", said[0])
    assert said[0] in said[1]
    with moedesk.open(tmp_path / "a.h5") as left, moedesk.open(tmp_path / "c.h5") as saved:
        assert 5 < left.n_passes <= saved.n_passes
        assert not saved.complete


def test_recover_still_gives_the_same(tmp_path: Path) -> None:
    """Recovery and saving agree on which rows are whole."""
    path = tmp_path / "a.h5"
    kill_once(path, 12, 0.2, 45)
    with moedesk.open(path) as killed:
        save_capture(killed, tmp_path / "b.h5", lambda share: None)
    with moedesk.open(recover(path)) as recovered, moedesk.open(tmp_path / "b.h5") as saved:
        assert recovered.notes == saved.notes
        for stream in saved.model.streams:
            np.testing.assert_array_equal(recovered.read_tokens(stream=stream), saved.read_tokens(stream=stream))
        np.testing.assert_array_equal(recovered.read_passes(), saved.read_passes())
