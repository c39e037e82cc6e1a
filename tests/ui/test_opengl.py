import os
import sys

import pytest
from pytestqt.qtbot import QtBot

from moedesk.session.settings import Settings
from moedesk.ui import opengl

NVIDIA = {"vendor": "NVIDIA Corporation", "renderer": "NVIDIA H100/PCIe", "version": "4.6.0"}
LLVMPIPE = {"vendor": "Mesa", "renderer": "llvmpipe (LLVM 15.0.6, 256 bits)", "version": "4.5"}


@pytest.mark.parametrize(
    ("mode", "answer", "through_opengl", "text"),
    [
        ("auto", None, False, "raster (OpenGL not probed yet)"),
        ("auto", NVIDIA, True, "OpenGL: NVIDIA H100/PCIe"),
        ("auto", LLVMPIPE, False, "raster (llvmpipe is a software renderer)"),
        ("auto", {"vendor": "Mesa", "renderer": "softpipe"}, False, "raster (softpipe is a software renderer)"),
        ("auto", {"error": "crashed"}, False, "raster (no OpenGL)"),
        ("off", NVIDIA, False, "raster (OpenGL is off)"),
        ("on", LLVMPIPE, True, "OpenGL: llvmpipe (LLVM 15.0.6, 256 bits)"),
        ("on", None, True, "OpenGL (on)"),
    ],
)
def test_how_to_draw(mode: str, answer: dict[str, str] | None, through_opengl: bool, text: str) -> None:
    found = opengl.judge(mode, answer)
    assert (found.opengl, found.text) == (through_opengl, text)


def test_an_answer_is_kept_for_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":7")
    opengl.remember(Settings(), NVIDIA)
    assert opengl.remembered(Settings()) == NVIDIA
    assert not opengl.is_stale(Settings())
    monkeypatch.setenv("DISPLAY", "elsewhere:10")
    assert opengl.remembered(Settings()) is None
    assert opengl.is_stale(Settings())


def test_lines_a_driver_prints_are_skipped() -> None:
    assert opengl.parse('libGL: loading\n{"renderer": "x"}\nbye\n') == {"renderer": "x"}
    assert "error" in opengl.parse("")


def test_the_child_process_answers(qtbot: QtBot) -> None:
    probe = opengl.Probe()
    with qtbot.waitSignal(probe.answered) as answer:
        probe.start()
    assert set(answer.args[0]) in ({"vendor", "renderer", "version"}, {"error"})
    probe.deleteLater()


def test_a_child_that_crashes_is_an_answer_too(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: "os.PathLike[str]"
) -> None:
    crash = os.path.join(tmp_path, "python")  # noqa: PTH118
    with open(crash, "w") as script:  # noqa: PTH123
        script.write("#!/bin/sh\nkill -SEGV $$\n")
    os.chmod(crash, 0o755)  # noqa: PTH101
    monkeypatch.setattr(sys, "executable", crash)
    probe = opengl.Probe()
    with qtbot.waitSignal(probe.answered) as answer:
        probe.start()
    assert "crashed" in answer.args[0]["error"]
    probe.deleteLater()
