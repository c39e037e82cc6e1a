"""Labels given after the recording: a small JSON file beside the capture, which itself is never written to again."""

import contextlib
import json
import os
from pathlib import Path

from moedesk.capture.file import reason
from moedesk.core.errors import CaptureError, MoedeskError
from moedesk.core.label_set import LabelSet, label_path, parse_json

MOST_BYTES = 4 << 20
"""A larger file is not read."""


class LabelFile:
    """The labels given afterwards to one capture.

    What is wrong with the file spoils nothing: the capture opens without it, and ``problem`` says why.

    Parameters
    ----------
    capture : Path
    created : str
        When the capture's recording began. A file that names another time belongs to a recording that this one has replaced.

    Attributes
    ----------
    path : Path
    current : LabelSet
        Replaced as a whole, so that any thread may read it.
    problem : str
        Why the file was left out, in one line; empty if it wasn't.
    """

    def __init__(self, capture: Path, created: str) -> None:
        self.path = label_path(capture)
        self._created = created
        self.current, self.problem = LabelSet(), ""
        try:
            self.current = self._read()
        except CaptureError as error:
            self.problem = str(error)

    def _read(self) -> LabelSet:
        try:
            with self.path.open("rb") as file:
                stored = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return LabelSet()
        except OSError as error:
            raise CaptureError(f"labels left out: {self.path.name} can't be read: {reason(error)}") from None
        if len(stored) > MOST_BYTES:
            raise CaptureError(f"labels left out: {self.path.name} is larger than {MOST_BYTES >> 20} MiB")
        try:
            text = stored.decode("utf-8")
            found = parse_json(text)
            belongs_to = _created_in(text)
        except (UnicodeDecodeError, MoedeskError) as error:
            said = error if isinstance(error, MoedeskError) else "it is no UTF-8 text"
            raise CaptureError(f"labels left out: {self.path.name}: {said}") from None
        if belongs_to and belongs_to != self._created:
            raise CaptureError(
                f"labels left out: {self.path.name} belongs to a recording of {belongs_to}, which another one replaced; remove it"
            )
        return found

    def save(self, new: LabelSet) -> None:
        """Keep these labels instead, in one step; without any the file goes.

        Raises
        ------
        CaptureError
            If it can't be written, or the file that is there is not one of this capture's.
        """
        if self.problem:
            raise CaptureError(f"{self.problem}; move it away, or mend it, and open the capture again")
        try:
            if new:
                self._write(new)
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise CaptureError(f"{self.path} can't be written: {reason(error)}") from None
        self.current = new

    def _write(self, new: LabelSet) -> None:
        text = json.dumps(new.to_json() | {"created": self._created}, ensure_ascii=False, indent=1)
        if len(text.encode()) > MOST_BYTES:
            raise CaptureError(
                f"so many labels make {self.path.name} larger than {MOST_BYTES >> 20} MiB; put neighbours together"
            )
        draft = self.path.with_name(self.path.name + ".writing")
        try:
            with draft.open("w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)


def _created_in(text: str) -> str:
    value = json.loads(text)
    created = value.get("created") if isinstance(value, dict) else None
    return created if isinstance(created, str) else ""
