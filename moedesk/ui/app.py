"""Starts the application."""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import QCoreApplication, Qt, QTimer
from PySide6.QtWidgets import QApplication, QStyleFactory

import moedesk
from moedesk.session.panel import panel_specs
from moedesk.session.settings import Settings
from moedesk.ui import opengl
from moedesk.ui.crash_log import CrashLog
from moedesk.ui.pauses import share_lock, spare_loaded
from moedesk.ui.window import Window

FIRST_PICTURE = "MOEDESK_EXIT_AFTER_FIRST_PICTURE"
"""Environment variable for benchmarks: leave once the first picture stands, printing the monotonic clock (ns)."""


def make_application() -> QApplication:
    """Return the application, made on the first call."""
    existing = QApplication.instance()
    if isinstance(existing, QApplication):
        return existing
    # Else a plot that is floated or docked again loses its textures with its context.
    QCoreApplication.setAttribute(Qt.ApplicationAttribute.AA_ShareOpenGLContexts)
    QCoreApplication.setOrganizationName("moedesk")
    QCoreApplication.setApplicationName("moedesk")
    QCoreApplication.setApplicationVersion(moedesk.__version__)
    application = QApplication(["moedesk"])
    application.setDesktopFileName("moedesk")
    application.setStyle(QStyleFactory.create("Fusion"))
    return application


def make_window(settings: Settings, *, mode: str = "auto", theme: str | None = None) -> Window:
    """Return the window with all panels, not yet shown."""
    window = Window(panel_specs(), settings, opengl.judge(mode, opengl.remembered(settings)))
    if theme is not None:
        window.appearance.choose(theme, keep=False)
    return window


def run(
    files: Sequence[Path],
    *,
    opengl_mode: str = "auto",
    theme: str | None = None,
    sample: bool = False,
    kernel: tuple[Path, str] | None = None,
) -> int:
    """Open the window on some files and stay until it is closed.

    Parameters
    ----------
    files : sequence of Path
    opengl_mode : {"auto", "on", "off"}
    theme : {"light", "dark", "system"}, optional
        For this run only; by default the one chosen last.
    sample : bool
        Whether to open the sample capture too.
    kernel : tuple of Path and str, optional
        Connection file of a kernel to connect to, and the ssh host it is reached through (empty for none).

    Returns
    -------
    int
        The exit code.
    """
    application = make_application()
    share_lock()
    settings = Settings()
    window = make_window(settings, mode=opengl_mode, theme=theme)
    log = CrashLog(window.messages.show_message)
    probe = opengl.Probe(window)
    probe.answered.connect(lambda answer: _answered(window, opengl_mode, answer))
    # Qt's loop would not let a Python handler run before the next event. Captures are only read, and what a live session has not
    # saved is offered at the next start.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for path in files:
        window.files.open(path)
    if sample:
        window.open_sample()
    if kernel is not None:
        window.connect_kernel(*kernel)
    window.show()
    if FIRST_PICTURE in os.environ:
        when_settled(window, lambda: _say_and_leave(window))
    else:
        when_settled(window, lambda: _after_first_picture(window, probe if opengl_mode == "auto" else None))
    code = application.exec()
    probe.stop()
    log.remove()
    return code


def when_settled(window: Window, then: Callable[[], None]) -> QTimer:
    """Call ``then`` once everything the window was asked for is drawn; return the timer that watches."""
    watch = QTimer(window, interval=5)
    quiet = 0

    def look() -> None:
        nonlocal quiet
        # Painting may ask for what only then is known to be in view: settled twice in a row means that it was painted.
        quiet = quiet + 1 if window.settled else 0
        if quiet >= 2:
            watch.stop()
            watch.deleteLater()
            then()

    watch.timeout.connect(look)
    watch.start()
    return watch


def _after_first_picture(window: Window, probe: opengl.Probe | None) -> None:
    spare_loaded()
    window.live.warm_up([dock.spec for dock in window.workspace.docks.values() if dock.spec.scope == "desk"])
    if probe is not None and opengl.is_stale(window.settings):
        probe.start()


def _answered(window: Window, mode: str, answer: dict[str, str]) -> None:
    opengl.remember(window.settings, answer)
    found = opengl.judge(mode, answer)
    if found.opengl and not window.opengl:
        # Views that exist draw in raster; mixing both would make pictures differ between panels.
        found = opengl.Renderer(False, f"raster now, {found.text} from the next start", found.detail)
    window.set_renderer(found)


def _say_and_leave(window: Window) -> None:
    window.repaint()
    sys.stdout.write(f"{time.monotonic_ns()}\n")
    sys.stdout.flush()
    window.close()
