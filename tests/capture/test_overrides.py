"""Which overrides acted on which passes: live, in the file, saved, cut short and recovered; and files that say it wrongly."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import moedesk.capture.overrides
from moedesk.capture.open import open_capture
from moedesk.capture.recovery import recover
from moedesk.capture.save import save_capture
from moedesk.capture.schema import OVERRIDE_RANGES
from moedesk.capture.writer import CaptureWriter
from moedesk.cli.info import as_json, as_text
from moedesk.core.override import Override, OverrideKind
from moedesk.core.resources import resource
from moedesk.core.store import Store
from tests.support.cut_short import cut_short
from tests.support.routing import random_batch, random_model

ABLATE = Override(OverrideKind.ABLATE, (1,), (3, 4), name="früh")
WARMER = Override(OverrideKind.TEMPERATURE, value=2.5, phases=("decode",))
ACTING = ((), (ABLATE,), (ABLATE, WARMER), (WARMER,), (), (WARMER, ABLATE))
"""What acts on each pass."""


def write(writer: CaptureWriter, acting: tuple[tuple[Override, ...], ...] = ACTING) -> None:
    model = random_model(2)
    writer.describe(model)
    for number, overrides in enumerate(acting):
        writer.append(replace(random_batch((number,), model, 4), overrides=overrides))


def by_pass(store: Store) -> list[set[Override]]:
    """The sets of overrides, pass by pass."""
    return [
        {one.override for one in store.overrides if any(first <= number < end for first, end in one.passes)}
        for number in range(store.n_passes)
    ]


EXPECTED = [set(overrides) for overrides in ACTING]


@pytest.mark.parametrize("compress", [True, False])
def test_live_saved_and_in_the_file(tmp_path: Path, compress: bool) -> None:
    with CaptureWriter(tmp_path / "a.h5", compress=compress) as writer:
        live = writer.live()
        assert live.overrides == ()
        write(writer)
        writer.flush()
        live.publish()
        assert by_pass(live) == by_pass(live.snapshot()) == EXPECTED
        save_capture(live, tmp_path / "b.h5", lambda share: None)
        live.close()
    for name in ("a.h5", "b.h5"):
        with open_capture(tmp_path / name) as capture:
            assert [one.override for one in capture.overrides] == [ABLATE, WARMER]
            assert by_pass(capture) == EXPECTED
            assert capture.overrides[1].passes == ((2, 4), (5, 6))
            assert not [line for line in capture.notes if "overrid" in line]


def test_it_shows_while_it_happens(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "a.h5") as writer:
        live, model = writer.live(), random_model(2)
        writer.describe(model)
        for number, overrides in enumerate(ACTING):
            writer.append(replace(random_batch((number,), model, 4), overrides=overrides))
            writer.flush()
            live.publish()
            assert by_pass(live) == EXPECTED[: number + 1]
        live.close()


def test_a_recording_that_was_cut_short(tmp_path: Path) -> None:
    cut = cut_short(tmp_path, write)
    with open_capture(cut) as capture:
        assert by_pass(capture) == EXPECTED
    with open_capture(recover(cut)) as capture:
        assert by_pass(capture) == EXPECTED


def test_earlier_captures_have_none(tmp_path: Path) -> None:
    with open_capture(resource("sample", "tinymoe.h5")) as capture:
        assert capture.overrides == ()
    with CaptureWriter(tmp_path / "a.h5") as writer:
        write(writer)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["overrides"]
    with open_capture(tmp_path / "a.h5") as capture:
        assert (capture.overrides, capture.notes) == ((), ())
        save_capture(capture, tmp_path / "b.h5", lambda share: None)
    with open_capture(tmp_path / "b.h5") as capture:
        assert (capture.overrides, capture.n_passes) == ((), len(ACTING))


def _break_one(file: h5py.File) -> None:
    file["overrides/bytes"][0] = ord("[")


def _cut_texts(file: h5py.File) -> None:
    file["overrides/bytes"].resize(int(file["overrides/ends"][0]) + 5, axis=0)


def _unknown_kind(file: h5py.File) -> None:
    text = file["overrides/bytes"][:].tobytes().replace(b'"ablate"', b'"oblate"')
    file["overrides/bytes"][:] = np.frombuffer(text, np.uint8)


def _other_rows(file: h5py.File) -> None:
    del file["overrides/ranges"]
    file["overrides/ranges"] = np.arange(4)


def _no_texts(file: h5py.File) -> None:
    del file["overrides/bytes"]


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (_break_one, {WARMER}),
        (_cut_texts, {ABLATE}),
        (_unknown_kind, {WARMER}),
        (_other_rows, set()),
        (_no_texts, set()),
    ],
)
def test_what_is_broken_is_left_out_in_one_line(
    tmp_path: Path, damage: Callable[[h5py.File], None], left: set[Override]
) -> None:
    with CaptureWriter(tmp_path / "a.h5") as writer:
        write(writer)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        damage(file)
    with open_capture(tmp_path / "a.h5") as capture:
        assert by_pass(capture) == [overrides & left for overrides in EXPECTED]
        (line,) = capture.notes
        assert "override" in line
        assert "left out" in line
        assert "\n" not in line
        assert len(capture.experts(0)) == capture.n_tokens() > 0
        if damage is not _other_rows and damage is not _no_texts:  # what can't be read is saved as it is
            save_capture(capture, tmp_path / "b.h5", lambda share: None)
            with open_capture(tmp_path / "b.h5") as saved:
                assert saved.overrides == capture.overrides


def test_more_runs_than_a_chunk_of_the_file_holds(tmp_path: Path) -> None:
    acting = tuple((ABLATE,) if number % 2 else (WARMER, ABLATE)[: number % 3] for number in range(300))
    with CaptureWriter(tmp_path / "a.h5") as writer:
        write(writer, acting)
    with h5py.File(tmp_path / "a.h5") as file:
        rows = file[OVERRIDE_RANGES.path]
        assert len(rows) > rows.chunks[0] == OVERRIDE_RANGES.rows
    with open_capture(tmp_path / "a.h5") as capture:
        assert by_pass(capture) == [set(overrides) for overrides in acting]
        assert not [line for line in capture.notes if "overrid" in line]


def test_of_too_many_the_first_ones_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moedesk.capture.overrides, "MOST", 3)
    each = tuple(Override(OverrideKind.ABLATE, (0,), (number,)) for number in range(5))
    with CaptureWriter(tmp_path / "a.h5") as writer:
        write(writer, tuple((one,) for one in each))
    with open_capture(tmp_path / "a.h5") as capture:
        assert [one.override for one in capture.overrides] == list(each[:3])
        assert [one.passes for one in capture.overrides] == [((0, 1),), ((1, 2),), ((2, 3),)]
        assert capture.notes == ("more than 3 different overrides acted; only the first ones are named",)


def test_info_prints_them(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "a.h5") as writer:
        write(writer)
    with open_capture(tmp_path / "a.h5") as capture:
        lines, values = as_text(capture).splitlines(), as_json(capture)["overrides"]
    assert "  overridden ablate experts 3, 4 in layer 1 (passes 1–2, 5)" in lines
    assert "             router temperature 2.5 in all layers · decode (passes 2–3, 5)" in lines
    assert values[0] == {**ABLATE.to_json(), "passes": [[1, 3], [5, 6]]}
