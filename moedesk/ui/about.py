"""What this installation is made of."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from PySide6.QtCore import qVersion
from PySide6.QtWidgets import QMessageBox, QWidget

import moedesk

PACKAGES = ("PySide6-Essentials", "pyqtgraph", "PyOpenGL", "numpy", "h5py")


def versions() -> str:
    """Return the versions that matter in a report, a line each; imports none of the packages."""
    lines = [
        f"moedesk {moedesk.__version__}",
        f"Python {platform.python_version()} on {platform.platform()}",
        f"Qt {qVersion()}",
    ]
    for package in PACKAGES:
        try:
            lines.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            lines.append(f"{package} missing")
    return "\n".join(lines)


def documentation() -> Path | None:
    """Return the folder of the documentation, beside the package in a checkout; None in an installation without it."""
    folder = Path(moedesk.__file__).resolve().parent.parent / "docs"
    return folder if folder.is_dir() else None


def show_about(parent: QWidget) -> None:
    """Show name and versions in a box that doesn't hold up the window."""
    box = QMessageBox(QMessageBox.Icon.NoIcon, "About moedesk", "moedesk", QMessageBox.StandardButton.Close, parent)
    box.setInformativeText(f"DevTools for Mixture-of-Experts models.\n\n{versions()}")
    box.open()
    box.finished.connect(box.deleteLater)
