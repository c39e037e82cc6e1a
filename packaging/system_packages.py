"""The system libraries that Qt needs: which are missing, and how to get them. Standard library only."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Library -> Debian package, as found on a bare Debian 12; wheels bring everything else.
QT_LIBRARIES = {
    "libglib-2.0.so.0": "libglib2.0-0",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
}
WINDOW_LIBRARIES = {
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-shape.so.0": "libxcb-shape0",
}
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts")
FONT_PACKAGE = "fonts-dejavu-core"


def has_display() -> bool:
    """Whether a window can be asked for."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


def missing_packages(window: bool) -> list[str]:
    """Return the Debian packages of the libraries that can't be loaded; with ``window``, those for a window as well."""
    if not sys.platform.startswith("linux"):
        return []
    libraries = {**QT_LIBRARIES, **(WINDOW_LIBRARIES if window else {})}
    missing = [package for library, package in libraries.items() if not _loads(library)]
    return missing if _has_font() else [*missing, FONT_PACKAGE]


def missing_test_packages() -> list[str]:
    """Return the packages of a virtual screen with OpenGL that aren't there."""
    if not sys.platform.startswith("linux"):
        return []
    missing = [] if shutil.which("Xvfb") else ["xvfb"]
    drivers = [file for folder in Path("/usr/lib").glob("*/dri") for file in folder.glob("swrast_dri.so")]
    return missing if drivers else [*missing, "libgl1-mesa-dri"]


def apt_install(packages: list[str]) -> bool:
    """Install Debian packages if this is root on Debian or Ubuntu; return whether they are there now."""
    if not can_install():
        return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        print(f"== apt-get {' '.join(arguments)}", flush=True)
        code = subprocess.run(["apt-get", *arguments], env=environment, stdin=subprocess.DEVNULL).returncode
        # An update may fail in part (one stale source) and the install work all the same.
        if code != 0 and arguments[0] == "install":
            return False
    return True


def can_install() -> bool:
    """Whether this is root on a system of the Debian family."""
    return hasattr(os, "geteuid") and os.geteuid() == 0 and _is_debian() and shutil.which("apt-get") is not None


def install_hint(packages: list[str]) -> str:
    """Return the sentence that says how to get the packages."""
    if _is_debian():
        return f"Install what is missing with: sudo apt-get update && sudo apt-get install -y {' '.join(packages)}"
    return f"Install what these Debian packages hold with your system's package manager: {' '.join(packages)}"


def qt_trouble(python: Path, window: bool) -> str:
    """Return why Qt doesn't start, the last line that it printed, or nothing if it does."""
    code = "from PySide6 import QtGui, QtOpenGLWidgets, QtSvg, QtWidgets\nQtWidgets.QApplication([])\n"
    environment = dict(os.environ)
    if not window:
        environment["QT_QPA_PLATFORM"] = "offscreen"
    try:
        answer = subprocess.run([str(python), "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return "it did not answer within 120 s"
    if answer.returncode == 0:
        return ""
    lines = [line for line in answer.stderr.splitlines() if line.strip()]
    return (lines or [f"exit code {answer.returncode}"])[0 if window else -1]


def _is_debian() -> bool:
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return False
    names = [line.split("=", 1)[1].strip("\"'") for line in text.splitlines() if line.startswith(("ID=", "ID_LIKE="))]
    return bool({"debian", "ubuntu"} & set(" ".join(names).split()))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _has_font() -> bool:
    folders = [Path(folder) for folder in FONT_FOLDERS] + [Path.home() / ".fonts", Path.home() / ".local/share/fonts"]
    return any(file.suffix in (".ttf", ".otf", ".ttc") for folder in folders for file in folder.rglob("*"))
