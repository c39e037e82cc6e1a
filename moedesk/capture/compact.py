"""A capture without what only its writer needed: tails, commit records, space given up in between."""

from pathlib import Path

import h5py

from moedesk.capture.schema import LIBVER

WRITER_ONLY = ("tail", "committed")


def copy_capture(source: h5py.File, target: h5py.File) -> None:
    """Copy attributes and datasets, their compressed chunks as they are, except what only a writer needs."""
    for name, value in source.attrs.items():
        target.attrs[name] = value
    for name in source:
        if name not in WRITER_ONLY:
            source.copy(name, target)


def compact(path: Path) -> None:
    """Replace a closed capture by its compact copy; if that fails the file stays as it is."""
    real = path.resolve()
    copy = real.with_name(real.name + ".compact")
    try:
        with h5py.File(real, "r", locking=False) as source, h5py.File(copy, "w", libver=LIBVER) as target:
            copy_capture(source, target)
        copy.chmod(real.stat().st_mode & 0o777)
        copy.replace(real)
    except (OSError, RuntimeError):
        copy.unlink(missing_ok=True)
