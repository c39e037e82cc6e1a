"""Is there a display, and has Qt what it needs of the system? Asked before Qt is loaded, which would abort."""

import ctypes
import os
import socket
import sys
from pathlib import Path

NEEDED = {
    "libglib-2.0.so.0": "libglib2.0-0",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
}
"""Libraries that Qt needs to be imported on Linux, and their Debian packages."""

NEEDED_FOR_X11 = {
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-shape.so.0": "libxcb-shape0",
}
"""What a window under X11 needs on top."""


def missing_packages(*, window: bool) -> list[str]:
    """Return the Debian packages whose libraries can't be loaded; ``window``: those for X11 too."""
    if not sys.platform.startswith("linux"):
        return []
    needed = NEEDED | NEEDED_FOR_X11 if window else NEEDED
    return [package for library, package in needed.items() if not _loads(library)]


def install_command(packages: list[str]) -> str:
    """Return the command that installs Debian packages."""
    sudo = "" if hasattr(os, "geteuid") and os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install {' '.join(packages)}"


def platform() -> str:
    """Return the Qt platform that is asked for: its name without options, empty if none is."""
    return os.environ.get("QT_QPA_PLATFORM", "").split(";")[0].split(":")[0]


def display_problem() -> str | None:
    """Return why no window can be opened here, or None if one can."""
    if not sys.platform.startswith("linux") or platform() not in ("", "xcb"):
        return None
    if os.environ.get("WAYLAND_DISPLAY") and not platform():
        return None
    display = os.environ.get("DISPLAY", "")
    if not display:
        return "there is no display (DISPLAY is not set)"
    if not _reachable(display):
        return f"the display {display} (DISPLAY) can't be reached"
    packages = missing_packages(window=True)
    return f"Qt lacks system libraries; install them with: {install_command(packages)}" if packages else None


def _reachable(display: str) -> bool:
    host, _, number = display.rpartition(":")
    number = number.split(".")[0]
    if not number.isdigit():
        return False
    if host in ("", "unix"):
        for address in (f"\0/tmp/.X11-unix/X{number}", f"/tmp/.X11-unix/X{number}"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2)
                try:
                    connection.connect(address)
                except OSError:
                    continue
                return True
        return Path(host).exists() if host.startswith("/") else False
    try:
        socket.create_connection((host, 6000 + int(number)), timeout=2).close()
    except OSError:
        return False
    return True


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
