"""Whether plots draw through OpenGL: as asked, or as a child process finds the driver to be."""

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject, QProcess, QTimer, Signal

from moedesk.session.settings import Settings

MODES = ("auto", "on", "off")
SOFTWARE = (
    "llvmpipe",
    "softpipe",
    "swrast",
    "software rasterizer",
    "swiftshader",
    "gdi generic",
    "basic render",
    "lavapipe",
)
PROBE_SECONDS = 20
_KEY = "opengl"
_STALE_AFTER = 24 * 3600  # seconds; drivers change


@dataclass(frozen=True)
class Renderer:
    """How plots are drawn.

    Attributes
    ----------
    opengl : bool
        Whether through OpenGL, else in raster on the CPU.
    text, detail : str
        For the status bar, and its tool tip.
    """

    opengl: bool
    text: str
    detail: str = ""


def is_software(answer: dict[str, str]) -> bool:
    """Whether a probe's answer names a renderer that draws on the CPU, slower than Qt's own raster."""
    name = f"{answer.get('renderer', '')} {answer.get('vendor', '')}".lower()
    return any(word in name for word in SOFTWARE)


def judge(mode: str, answer: dict[str, str] | None) -> Renderer:
    """Return how to draw, by the mode asked for and what the probe answered (None: nothing yet)."""
    if mode == "off":
        return Renderer(False, "raster (OpenGL is off)", "Started with --opengl=off.")
    if mode == "on":
        name = (answer or {}).get("renderer", "")
        return Renderer(True, f"OpenGL: {name}" if name else "OpenGL (on)", "Started with --opengl=on.")
    if answer is None:
        return Renderer(False, "raster (OpenGL not probed yet)", "A child process is asking the OpenGL driver.")
    if "error" in answer:
        return Renderer(False, "raster (no OpenGL)", answer["error"])
    detail = " · ".join(answer.get(key, "") for key in ("vendor", "renderer", "version"))
    name = answer.get("renderer", "")
    if is_software(answer):
        return Renderer(False, f"raster ({name.split(' (')[0]} is a software renderer)", detail)
    return Renderer(True, f"OpenGL: {name}", detail)


def environment() -> str:
    """Return what a probe's answer depends on, as a key for the settings."""
    names = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM", "LIBGL_ALWAYS_SOFTWARE", "SSH_CONNECTION")
    return "|".join(
        [sys.platform, os.uname().nodename if hasattr(os, "uname") else ""] + [os.environ.get(n, "") for n in names]
    )


def remembered(settings: Settings) -> dict[str, str] | None:
    """Return the probe's answer kept from an earlier run in the same environment."""
    return _kept(settings).get("answer")


def remember(settings: Settings, answer: dict[str, str]) -> None:
    """Keep a probe's answer for this environment."""
    settings.set(_KEY, {"environment": environment(), "answer": answer, "time": int(time.time())})
    settings.save()


def is_stale(settings: Settings) -> bool:
    """Whether there is no answer for this environment, or an old one."""
    return time.time() - _kept(settings).get("time", 0) > _STALE_AFTER


def _kept(settings: Settings) -> dict[str, Any]:
    kept = settings.get(_KEY)
    return kept if isinstance(kept, dict) and kept.get("environment") == environment() else {}


def parse(output: str) -> dict[str, str]:
    """Return the answer in a probe's output; a driver may have printed lines of its own before it."""
    for line in reversed(output.splitlines()):
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        if isinstance(answer, dict):
            return {str(key): str(value) for key, value in answer.items()}
    return {"error": "the OpenGL probe ended without an answer"}


class Probe(QObject):
    """Runs ``opengl_probe`` in a child process and tells what it says."""

    answered = Signal(dict)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._process = QProcess(self)
        self._process.finished.connect(self._finished)
        self._process.errorOccurred.connect(self._failed)
        self._limit = QTimer(self, singleShot=True, interval=PROBE_SECONDS * 1000)
        self._limit.timeout.connect(self._process.kill)

    def start(self) -> None:
        """Start the child; ``answered`` follows."""
        self._limit.start()
        self._process.start(sys.executable, ["-m", "moedesk.ui.opengl_probe"])

    def stop(self) -> None:
        """End the child without an answer."""
        self._limit.stop()
        self._process.blockSignals(True)
        if self._process.state() != QProcess.ProcessState.NotRunning:
            self._process.kill()
            self._process.waitForFinished(1000)

    def _finished(self, code: int, status: QProcess.ExitStatus) -> None:
        self._limit.stop()
        output = bytes(self._process.readAllStandardOutput().data()).decode(errors="replace")
        if status is QProcess.ExitStatus.CrashExit:
            self.answered.emit({"error": "the OpenGL driver crashed its probe, or took too long"})
        else:
            self.answered.emit(parse(output))

    def _failed(self, error: QProcess.ProcessError) -> None:
        if error is QProcess.ProcessError.FailedToStart:
            self._limit.stop()
            self.answered.emit({"error": "the OpenGL probe could not be started"})
