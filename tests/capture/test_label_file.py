"""Labels given after the recording: beside the file, merged, saved, recovered; and files that can't be used."""

import json
import shutil
from pathlib import Path

import h5py
import pytest

import moedesk
from moedesk.capture.label_file import LabelFile
from moedesk.capture.open import open_capture
from moedesk.capture.recovery import recover
from moedesk.capture.save import save_capture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.errors import MoedeskError
from moedesk.core.label import Label
from moedesk.core.label_set import LabelSet, label_path, parse_csv, parse_json
from tests.capture.test_labels import EXPECTED, write

LATER = (Label("prüfung", 0, 2), Label("head", 0, 3, "main"))


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    with CaptureWriter(tmp_path / "a.h5") as writer:
        write(writer)
    return tmp_path / "a.h5"


def label(path: Path, labels: LabelSet) -> None:
    with open_capture(path) as opened:
        opened.label_file.save(labels)


def test_merged_and_removed(capture: Path) -> None:
    before = capture.read_bytes()
    label(capture, LabelSet(LATER, ("python",)))
    with moedesk.open(capture) as opened:
        assert opened.labels == (*(one for one in opened.recorded_labels if one.name != "python"), *LATER)
        assert {one.group for one in opened.metrics(by="domain", keys=["cv"]).layers} == {
            "näh",
            "rare",
            "prüfung",
            "head",
        }
        opened.label_file.save(LabelSet())
        assert set(opened.labels) == set(EXPECTED)
    assert not label_path(capture).exists()
    assert capture.read_bytes() == before
    assert sorted(path.name for path in capture.parent.iterdir()) == ["a.h5"]


def test_saving_writes_them_into_the_capture(capture: Path, tmp_path: Path) -> None:
    label(capture, LabelSet(LATER, ("python",)))
    with open_capture(capture) as opened:
        save_capture(opened, tmp_path / "b.h5", lambda share: None)
        expected = opened.labels
    assert not label_path(tmp_path / "b.h5").exists()
    with open_capture(tmp_path / "b.h5") as saved:
        assert saved.labels == saved.recorded_labels == expected
    with h5py.File(tmp_path / "b.h5") as file:
        assert [row["name"].decode() for row in file["labels"]] == [one.name for one in expected]


def test_a_recording_that_goes_on(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "a.h5") as writer:
        live = writer.live()
        write(writer)
        writer.flush()
        live.publish()
        live.label_file.save(LabelSet(LATER))
        assert live.labels == (*live.recorded_labels, *LATER)
        save_capture(live, tmp_path / "b.h5", lambda share: None)
        live.close()
    for name in ("a.h5", "b.h5"):
        with open_capture(tmp_path / name) as opened:
            assert set(opened.labels) == {*EXPECTED, *LATER}


def test_saving_a_capture_that_had_no_column_of_labels(capture: Path, tmp_path: Path) -> None:
    with h5py.File(capture, "r+") as file:
        del file["labels"]
    label(capture, LabelSet(LATER))
    with open_capture(capture) as opened:
        save_capture(opened, tmp_path / "b.h5", lambda share: None)
    with open_capture(tmp_path / "b.h5") as saved:
        assert saved.labels == LATER


def test_recovering_takes_them_along(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "a.h5")
    write(writer)
    writer.flush()
    shutil.copyfile(tmp_path / "a.h5", tmp_path / "cut.h5")
    writer.close()
    label(tmp_path / "cut.h5", LabelSet(LATER))
    with open_capture(recover(tmp_path / "cut.h5")) as opened:
        assert set(opened.labels) == {*EXPECTED, *LATER}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "no JSON"),
        (b"\xff\xfe", "no UTF-8"),
        (b"3", "holds no labels"),
        (b'{"format": "other"}', "holds no labels"),
        (b'{"version": 7}', "upgrade"),
        (b'{"labels": 3}', "list of labels"),
        (b'{"labels": [3]}', '"name"'),
        (b'{"labels": [{"name": "x"}]}', '"passes" or "tokens"'),
        (b'{"labels": [{"name": "x", "passes": [1]}]}', "two numbers"),
        (b'{"labels": [{"name": "x", "passes": [true, 2]}]}', "two numbers"),
        (b'{"labels": [{"name": "x", "passes": [2, 1]}]}', "from 2 to 1"),
        (b'{"labels": [{"name": "x", "passes": [-3, -1]}]}', "from -3"),
        (b'{"labels": [{"name": "x\\ny", "passes": [0, 1]}]}', "one line"),
        (b'{"labels": [{"name": "x", "passes": [0, 1e9]}]}', "two numbers"),
        (b"[" * 100_000, "no JSON"),
        (b" " * (5 << 20), "larger than 4 MiB"),
        (b'{"created": "1999-01-01T00:00:00+00:00", "labels": []}', "belongs to a recording of 1999"),
    ],
)
def test_a_bad_file_is_left_out_and_said(capture: Path, content: bytes, says: str) -> None:
    label_path(capture).write_bytes(content)
    with open_capture(capture) as opened:
        assert set(opened.labels) == set(EXPECTED)
        problem = next(note for note in opened.notes if "labels left out" in note)
        assert says in problem
        assert "\n" not in problem
        with pytest.raises(MoedeskError, match="labels left out"):
            opened.label_file.save(LabelSet(LATER))
    assert label_path(capture).read_bytes() == content


def test_too_many(capture: Path) -> None:
    many = {"labels": [{"name": "x", "passes": [n, n + 1]} for n in range(20_001)]}
    label_path(capture).write_text(json.dumps(many))
    with open_capture(capture) as opened:
        assert any("more than 20,000" in note for note in opened.notes)


def test_a_folder_that_can_not_be_written(capture: Path) -> None:
    file = LabelFile(capture.parent / "gone" / "a.h5", "")
    with pytest.raises(MoedeskError, match="can't be written"):
        file.save(LabelSet(LATER))
    assert not file.current


def test_json_and_csv_say_the_same() -> None:
    text = "name,stream,first,last\npython,,0,10\n a b ,main,3,9\n"
    both = (Label("python", 0, 10), Label("a b", 3, 9, "main"))
    assert parse_csv(text).labels == both
    assert parse_json(json.dumps(LabelSet(both).to_json())) == LabelSet(both)
    assert parse_json('[{"name": "a b", "tokens": [3, 9]}]').labels == both[1:]
    for bad in ("a,b\n1,2\n", "name,first,last\nx,1\n", "name,first,last\nx,1,y\n"):
        with pytest.raises(MoedeskError):
            parse_csv(bad)
