"""A recording that ended without being closed."""

from collections.abc import Callable
from pathlib import Path

from moedesk.capture.writer import CaptureWriter


def cut_short(folder: Path, write: Callable[[CaptureWriter], None]) -> Path:
    """Write a capture and return a copy of it as it was before it was closed."""
    writer = CaptureWriter(folder / "whole.h5")
    write(writer)
    writer.flush()
    cut = folder / "cut.h5"
    cut.write_bytes((folder / "whole.h5").read_bytes())
    writer.close()
    return cut
