"""Explanations given after the recording, or while it goes on: a file beside the capture, which itself is not written to."""

import shutil
import threading
from pathlib import Path

import h5py
import numpy as np

from moedesk.capture.attributions import MOST, read_explanations, write_explanations
from moedesk.capture.beside_file import BesideFile
from moedesk.capture.schema import LIBVER
from moedesk.core.attribution import Explanation
from moedesk.core.beside import attributions_path
from moedesk.core.errors import CaptureError

FORMAT, VERSION = "moedesk-attributions", 1


class AttributionFile(BesideFile):
    """The explanations given afterwards to one capture; read when they are first asked for. Threads may share it."""

    def __init__(self, capture: Path, created: str) -> None:
        super().__init__(attributions_path(capture), created, "explanations")
        self._lock = threading.RLock()
        self._current: tuple[Explanation, ...] | None = None
        self._problem = ""

    @property
    def current(self) -> tuple[Explanation, ...]:
        """The explanations in it, in the order in which they were given."""
        with self._lock:
            if self._current is None:
                self._current, self._problem = self._read()
            return self._current

    @property
    def problem(self) -> str:
        """Why it, or a part of it, was left out, in one line; empty if nothing was."""
        with self._lock:
            return self._problem if self.current or self._problem else ""

    def add(self, explanation: Explanation) -> None:
        """Keep one more, in one step.

        Raises
        ------
        CaptureError
            If it can't be written, or the file that is there is not one of this capture's.
        """
        with self._lock:
            before = self.current
            if self._problem:
                raise CaptureError(f"{self._problem}; move {self.path.name} away, and open the capture again")
            if len(before) >= MOST:
                raise CaptureError(f"{self.path.name} holds {MOST:,} explanations, no more are kept; save the capture")
            self._append(explanation)
            self._current = (*before, explanation)

    def _append(self, explanation: Explanation) -> None:
        with self.draft() as draft:
            if self.path.exists():
                shutil.copyfile(self.path, draft)
            with h5py.File(draft, "a", libver=LIBVER, locking=False) as file:
                file.attrs["format"] = np.bytes_(FORMAT)
                file.attrs["version"] = np.int64(VERSION)
                file.attrs["created"] = np.bytes_(self.created)
                write_explanations(file, [explanation])

    def _read(self) -> tuple[tuple[Explanation, ...], str]:
        if not self.path.exists():
            return (), ""
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                kind, version = _text(file.attrs.get("format")), file.attrs.get("version", 0)
                if kind != FORMAT or int(version) > VERSION:
                    return (), self.left_out(" is no file of explanations that this version reads")
                self.check_owner(_text(file.attrs.get("created")))
                return read_explanations(file)
        except CaptureError as error:
            return (), str(error)
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            return (), self.left_out(f" can't be read: {str(error).splitlines()[0]}")


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
