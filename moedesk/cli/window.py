"""Opening the window: its options, and what to say where none can be opened."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from moedesk.core.errors import MoedeskError


def add_window_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the window."""
    parser.add_argument(
        "--opengl",
        choices=("auto", "on", "off"),
        default="auto",
        help="draw plots through OpenGL; auto (the default) does on a GPU and draws in raster otherwise",
    )
    parser.add_argument(
        "--kernel",
        metavar="CONNECTION_FILE",
        help="connect to a kernel that runs already: its connection file, or the id in that file's name",
    )
    parser.add_argument("--ssh", metavar="USER@HOST", default="", help="reach the kernel of --kernel through ssh")
    parser.add_argument("--theme", choices=("light", "dark", "system"), help="colours, for this run")


def open_window(files: Sequence[str], options: argparse.Namespace, *, sample: bool = False) -> int:
    """Open the window on some captures and return its exit code.

    Raises
    ------
    MoedeskError
        If there is no display, or Qt can't be loaded, or there is no such kernel.
    """
    kernel = _kernel(options)
    from moedesk.ui.display import display_problem

    problem = display_problem()
    if problem:
        raise MoedeskError(
            f"no window can be opened: {problem}; moedesk screenshot FILE -o x.png draws without a display"
        )
    check_qt()
    from moedesk.ui.app import run

    paths = [Path(file) for file in files]
    return int(run(paths, opengl_mode=options.opengl, theme=options.theme, sample=sample, kernel=kernel))


def _kernel(options: argparse.Namespace) -> tuple[Path, str] | None:
    if not getattr(options, "kernel", None):
        return None
    if options.ssh:  # the file may lie on the other machine
        return Path(options.kernel), options.ssh
    from moedesk.session.kernel_files import find_connection_file

    return find_connection_file(options.kernel), options.ssh


def check_qt() -> None:
    """Load Qt.

    Raises
    ------
    MoedeskError
        If it can't be loaded.
    """
    from moedesk.ui.display import install_command, missing_packages

    try:
        import PySide6.QtWidgets  # noqa: F401
    except ImportError as error:
        packages = missing_packages(window=False)
        cure = f"install its libraries with: {install_command(packages)}" if packages else "moedesk doctor says more"
        raise MoedeskError(f"Qt can't be loaded ({error}); {cure}") from None
