"""Explanations given afterwards: beside the file, also while it is recorded; saved, recovered; and files that can't be used."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import moedesk
from moedesk.capture.open import open_capture
from moedesk.capture.recovery import recover
from moedesk.capture.save import save_capture
from moedesk.capture.writer import CaptureWriter
from moedesk.cli.main import main
from moedesk.core.attribution import Attribution, Counterfactual, TokenPlace
from moedesk.core.attribution_json import taken_apart
from moedesk.core.beside import attributions_path
from moedesk.core.errors import MoedeskError
from tests.capture.test_labels import write
from tests.core.test_attribution import TOKEN, WHY

ALL = (WHY, Attribution(TOKEN, value=1.5, experts=np.arange(4096).reshape(2, 2048)), Counterfactual(TOKEN, 3))


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    with CaptureWriter(tmp_path / "a.h5") as writer:
        write(writer)
    return tmp_path / "a.h5"


def give(path: Path, count: int = len(ALL)) -> None:
    with open_capture(path) as opened:
        for explanation in ALL[:count]:
            opened.attribution_file.add(explanation)


def same(found: tuple[object, ...], expected: tuple[object, ...] = ALL) -> bool:
    """Whether explanations are alike, field by field."""
    apart = [taken_apart(explanation) for explanation in found]
    np.testing.assert_equal(apart, [taken_apart(explanation) for explanation in expected])
    return True


def test_they_lie_beside_the_capture_which_is_not_written_to(capture: Path) -> None:
    before = capture.read_bytes()
    with moedesk.open(capture) as opened:
        assert opened.attributions == ()
        opened.attribution_file.add(ALL[0])
        assert same(opened.attributions, ALL[:1])
        for explanation in ALL[1:]:
            opened.attribution_file.add(explanation)
    with moedesk.open(capture) as again:
        assert same(again.attributions)
    assert capture.read_bytes() == before
    assert sorted(path.name for path in capture.parent.iterdir()) == ["a.h5", "a.h5.attributions"]


def test_saving_writes_them_into_the_capture_where_plain_h5py_reads_them(capture: Path, tmp_path: Path) -> None:
    give(capture)
    with open_capture(capture) as opened:
        save_capture(opened, tmp_path / "b.h5", lambda share: None)
    assert not attributions_path(tmp_path / "b.h5").exists()
    give(tmp_path / "b.h5", 1)
    with open_capture(tmp_path / "b.h5") as saved:
        assert same(saved.attributions, (*ALL, ALL[0]))
        save_capture(saved, tmp_path / "c.h5", lambda share: None)
    with h5py.File(tmp_path / "c.h5") as file:
        assert sorted(file["attributions"]) == ["0", "1", "2", "3"]
        assert b'"kind": "why"' in file["attributions/3/json"][()].tobytes()
        np.testing.assert_array_equal(file["attributions/0/arrays/contributions"], WHY.contributions)
    with open_capture(tmp_path / "c.h5") as twice:
        assert same(twice.attributions, (*ALL, ALL[0]))


def test_while_a_recording_goes_on(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "live.h5", compress=False) as writer:
        write(writer)
        live = writer.live()
        live.attribution_file.add(ALL[0])
        assert same(live.attributions, ALL[:1])
        save_capture(live, tmp_path / "saved.h5", lambda share: None)
        live.close()
    for name in ("live.h5", "saved.h5"):
        with open_capture(tmp_path / name) as opened:
            assert same(opened.attributions, ALL[:1])


def test_recovery_takes_them_along(capture: Path) -> None:
    give(capture)
    with h5py.File(capture, "r+") as file:
        file["state"][()] = 2
    killed = capture.rename(capture.with_name("killed.h5"))
    attributions_path(capture).rename(attributions_path(killed))
    with open_capture(recover(killed)) as recovered:
        assert same(recovered.attributions)


def test_info_counts_them(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    give(capture)
    assert main(["info", str(capture)]) == 0
    assert "  explained  1 × why, 1 × attribution, 1 × counterfactual\n" in capsys.readouterr().out
    assert main(["info", "--json", str(capture)]) == 0
    assert '"attributions": {\n  "why": 1,' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(b"no HDF5"), "a.h5.attributions can't be read: "),
        (lambda path: mark(path, "format", b"moedesk-capture"), "is no file of explanations that this version reads"),
        (lambda path: mark(path, "version", 2), "is no file of explanations that this version reads"),
        (lambda path: mark(path, "created", b"2020"), "belongs to a recording of 2020, which another one replaced"),
    ],
)
def test_a_file_that_cannot_be_used_is_left_out_and_kept(capture: Path, spoil: object, said: str) -> None:
    give(capture)
    beside = attributions_path(capture)
    spoil(beside)  # type: ignore[operator]
    before = beside.read_bytes()
    with open_capture(capture) as opened:
        assert opened.attributions == ()
        assert any(said in note for note in opened.notes)
        with pytest.raises(MoedeskError) as error:
            opened.attribution_file.add(ALL[0])
        assert said in str(error.value)
        assert "\n" not in str(error.value)
    assert beside.read_bytes() == before


def mark(path: Path, name: str, value: object) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value


def test_an_entry_that_cannot_be_read_is_left_out_alone(capture: Path) -> None:
    give(capture)
    with h5py.File(attributions_path(capture), "r+") as file:
        del file["attributions/0/arrays/contributions"]
        file["attributions/0/arrays/contributions"] = b"text"
        del file["attributions/2/json"]
        file.create_dataset("attributions/2/json", (1 << 40,), np.uint8, chunks=True)
    with open_capture(capture) as opened:
        assert same(opened.attributions, ALL[1:2])
        (note,) = opened.notes
        assert note.startswith("explanation 0 (why: contributions is 0-dimensional")
        assert "and 1 more left out" in note


def test_nothing_is_left_where_it_cannot_be_written(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(capture, 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("moedesk.capture.beside_file.os.fsync", full)
    with open_capture(capture) as opened:
        with pytest.raises(MoedeskError, match="can't be written"):
            opened.attribution_file.add(ALL[1])
        assert same(opened.attributions, ALL[:1])
    assert sorted(path.name for path in capture.parent.iterdir()) == ["a.h5", "a.h5.attributions"]


def test_token_places_stay(capture: Path) -> None:
    place = TokenPlace("näh", 5, 2, 1, 2, 3, 4, 0, "main")
    with open_capture(capture) as opened:
        opened.attribution_file.add(replace(WHY, token=place))
    with open_capture(capture) as again:
        assert again.attributions[0].token == place
