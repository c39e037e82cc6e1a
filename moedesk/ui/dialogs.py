"""The dialogs that ask for files."""

from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QWidget

from moedesk.session.kernel_files import runtime_dir
from moedesk.session.settings import Settings

_FOLDER = "folder"
"""Key of the folder used last."""


def ask_captures(parent: QWidget, settings: Settings) -> list[Path]:
    """Let the user pick captures to open."""
    folder = settings.get(_FOLDER, "")
    names, _ = QFileDialog.getOpenFileNames(parent, "Open captures", folder, "Captures (*.h5 *.hdf5);;All files (*)")
    paths = [Path(name) for name in names]
    if paths:
        settings.set(_FOLDER, str(paths[0].parent))
    return paths


def ask_new_capture(parent: QWidget, settings: Settings, title: str) -> Path | None:
    """Ask where to save what is called ``title``; None if the user would rather not."""
    folder = Path(str(settings.get(_FOLDER, "")) or Path.home())
    name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in title) or "capture"
    start = folder / (name if name.endswith(".h5") else f"{name}.h5")
    chosen, _ = QFileDialog.getSaveFileName(parent, "Save capture", str(start), "Captures (*.h5)")
    if not chosen:
        return None
    path = Path(chosen)
    path = path if path.suffix in (".h5", ".hdf5") else path.with_name(f"{path.name}.h5")
    settings.set(_FOLDER, str(path.parent))
    return path


def ask_connection_file(parent: QWidget) -> Path | None:
    """Let the user pick the connection file of a running kernel."""
    title = "Connect to a running kernel: its connection file (%connect_info shows it)"
    kinds = "Connection files (*.json);;All files (*)"
    name, _ = QFileDialog.getOpenFileName(parent, title, str(runtime_dir()), kinds)
    return Path(name) if name else None
