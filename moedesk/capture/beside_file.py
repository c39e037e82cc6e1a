"""A file that lies beside a capture, which itself is never written to again: whose it is, and how it is replaced."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moedesk.capture.file import reason
from moedesk.core.errors import CaptureError


class BesideFile:
    """What was given afterwards to one capture.

    What is wrong with the file spoils nothing: the capture opens without it, and its ``problem`` says why.

    Parameters
    ----------
    path : Path
    created : str
        When the capture's recording began. A file that names another time belongs to a recording that this one has replaced.
    what : str
        What it holds, such as ``labels``.

    Attributes
    ----------
    path : Path
    created : str
    """

    def __init__(self, path: Path, created: str, what: str) -> None:
        self.path, self.created = path, created
        self._what = what

    def left_out(self, why: str) -> str:
        """Return in one line that it is left out, and why."""
        return f"{self._what} left out: {self.path.name}{why}"

    def check_owner(self, created: str) -> None:
        """Check that it belongs to this recording, if it says to which.

        Raises
        ------
        CaptureError
            If it belongs to another one.
        """
        if created and created != self.created:
            raise CaptureError(
                self.left_out(f" belongs to a recording of {created}, which another one replaced; remove it")
            )

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """Give the path of a new file, which takes the place of the old one in one step if the block goes well.

        Raises
        ------
        CaptureError
            If it can't be written.
        """
        draft = self.path.with_name(self.path.name + ".writing")
        try:
            yield draft
            with draft.open("rb+") as written:
                os.fsync(written.fileno())
            draft.replace(self.path)
        except (OSError, RuntimeError) as error:
            raise CaptureError(f"{self.path} can't be written: {reason(error)}") from None
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
