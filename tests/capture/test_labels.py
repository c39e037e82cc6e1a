"""Labels: given while recording and afterwards, live, in the file, saved, recovered; and captures that have none."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import moedesk
from moedesk.capture.open import open_capture
from moedesk.capture.recovery import recover
from moedesk.capture.save import save_capture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.errors import MoedeskError
from moedesk.core.label import Label, encode_name
from moedesk.core.resources import resource
from tests.support.cut_short import cut_short
from tests.support.families import build, some_ids
from tests.support.routing import random_batch, random_model

EXPECTED = (Label("python", 1, 3), Label("näh", 3, 5), Label("python", 6, 8), Label("rare", 2, 5, "main"))


def write(writer: CaptureWriter) -> None:
    model = random_model(2)
    writer.describe(model)
    for number, name in enumerate(["", "python", "python", "näh", "näh", "", "python", "python"]):
        writer.append(replace(random_batch((number,), model, 4), label=name))
    writer.add_label(Label("rare", 2, 5, "main"))


def test_live_saved_and_in_the_file(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "a.h5") as writer:
        live = writer.live()
        write(writer)
        writer.flush()
        live.publish()
        assert set(live.labels) == set(EXPECTED)
        save_capture(live, tmp_path / "b.h5", lambda share: None)
        live.close()
    for name in ("a.h5", "b.h5"):
        with open_capture(tmp_path / name) as capture:
            assert set(capture.labels) == set(EXPECTED)


def test_a_recording_that_was_cut_short(tmp_path: Path) -> None:
    cut = cut_short(tmp_path, write)
    with open_capture(cut) as capture:
        assert set(capture.labels) == set(EXPECTED)
    with open_capture(recover(cut, tmp_path / "mended.h5")) as capture:
        assert set(capture.labels) == set(EXPECTED)


def test_a_capture_without() -> None:
    with open_capture(resource("sample", "tinymoe.h5")) as capture:
        assert isinstance(capture.labels, tuple)


def test_while_recording(tmp_path: Path) -> None:
    model: nn.Module = build("olmoe")
    with torch.no_grad(), moedesk.record(model, tmp_path / "a.h5") as rec:
        model(some_ids())
        with rec.label("python"):
            model(some_ids())
            with rec.label("json"):
                model(some_ids())
            model(some_ids())
        model(some_ids())
        rec.label("prose")
        model(some_ids())
        model(some_ids())
        rec.label(None)
        model(some_ids())
        with pytest.raises(MoedeskError, match="one line"):
            rec.label("two\nlines")
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.labels == (
            Label("python", 1, 2),
            Label("json", 2, 3),
            Label("python", 3, 4),
            Label("prose", 5, 7),
        )
        report = capture.metrics(by="domain", keys=["cv"])
        assert [(one.layer.place, one.group, one.tokens) for one in report.layers[:3]] == [
            (0, "python", 36), (0, "json", 18), (0, "prose", 36),
        ]  # fmt: skip


@pytest.mark.parametrize("name", ["x" * 65, "ü" * 33, "a\nb", " a", "a\0b"])
def test_names_that_cannot_be_stored(name: str) -> None:
    with pytest.raises(MoedeskError, match="at most 64 bytes"):
        encode_name(name)
