"""Labels given after the recording: a small JSON file beside the capture, which itself is never written to again."""

import json
from pathlib import Path

from moedesk.capture.beside_file import BesideFile
from moedesk.capture.file import reason
from moedesk.core.errors import CaptureError, MoedeskError
from moedesk.core.label_set import LabelSet, label_path, parse_json

MOST_BYTES = 4 << 20
"""A larger file is not read."""


class LabelFile(BesideFile):
    """The labels given afterwards to one capture.

    Attributes
    ----------
    current : LabelSet
        Replaced as a whole, so that any thread may read it.
    problem : str
        Why the file was left out, in one line; empty if it wasn't.
    """

    def __init__(self, capture: Path, created: str) -> None:
        super().__init__(label_path(capture), created, "labels")
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
            raise CaptureError(self.left_out(f" can't be read: {reason(error)}")) from None
        if len(stored) > MOST_BYTES:
            raise CaptureError(self.left_out(f" is larger than {MOST_BYTES >> 20} MiB"))
        try:
            text = stored.decode("utf-8")
            found = parse_json(text)
            belongs_to = _created_in(text)
        except (UnicodeDecodeError, MoedeskError) as error:
            said = error if isinstance(error, MoedeskError) else "it is no UTF-8 text"
            raise CaptureError(self.left_out(f": {said}")) from None
        self.check_owner(belongs_to)
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
        if new:
            self._write(new)
        else:
            self._remove()
        self.current = new

    def _write(self, new: LabelSet) -> None:
        text = json.dumps(new.to_json() | {"created": self.created}, ensure_ascii=False, indent=1)
        if len(text.encode()) > MOST_BYTES:
            raise CaptureError(
                f"so many labels make {self.path.name} larger than {MOST_BYTES >> 20} MiB; put neighbours together"
            )
        with self.draft() as draft:
            draft.write_text(text + "\n", encoding="utf-8")

    def _remove(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise CaptureError(f"{self.path} can't be written: {reason(error)}") from None


def _created_in(text: str) -> str:
    value = json.loads(text)
    created = value.get("created") if isinstance(value, dict) else None
    return created if isinstance(created, str) else ""
