"""An open capture: a ``Store`` over a file."""

from functools import cached_property
from pathlib import Path
from typing import Self

import h5py

from moedesk.capture.attribution_file import AttributionFile
from moedesk.capture.attributions import GROUP, read_explanations
from moedesk.capture.file_contents import FileContents
from moedesk.capture.label_file import LabelFile
from moedesk.capture.routing import Routing
from moedesk.capture.schema import State
from moedesk.core.attribution import Explanation
from moedesk.core.label import Label


class Capture(Routing):
    """A capture opened for reading; implements ``moedesk.core.store.Store``, where every method is described.

    Nothing is read before it is asked for, and only the rows asked for. Threads may share it. It is a context manager.

    Attributes
    ----------
    path : Path
    name : str
        The file's name.
    revision : int
        Always 0: what a running recording adds later is not seen.
    contents : FileContents
        The columns behind it; for this package.
    label_file : LabelFile
        Labels given after the recording.
    attribution_file : AttributionFile
        Explanations given after the recording.
    """

    revision = 0

    def __init__(self, file: h5py.File, path: Path) -> None:
        self.path = path
        self.name = path.name
        super().__init__(contents := FileContents(file))
        self.contents: FileContents = contents
        self.label_file = LabelFile(path, contents.created)
        self.attribution_file = AttributionFile(path, contents.created)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if not self.contents.file:
            return f"<closed capture {self.name}>"
        size = f"{self.n_passes:,} passes, {self.n_tokens():,} tokens, {len(self.model.layers)} MoE layers"
        return f"<capture {self.name} of {self.model.name}: {size}{'' if self.complete else ', incomplete'}>"

    def close(self) -> None:
        """Close the file; reading afterwards raises CaptureError."""
        with self.contents.lock:
            self.contents.file.close()

    @property
    def is_whole(self) -> bool:
        """Whether any HDF5 tool opens the file and finds all of it: its writer closed it, or it was recovered."""
        with self.contents.lock:
            return self.contents.state != State.RECORDING and not self.contents.file.swmr_mode

    @property
    def complete(self) -> bool:
        """Whether the recording was closed properly."""
        return self.contents.state == State.COMPLETE

    @property
    def labels(self) -> tuple[Label, ...]:
        """What passes and token rows were labelled as, while recording and afterwards."""
        return self.label_file.current.over(self.recorded_labels)

    @cached_property
    def recorded_labels(self) -> tuple[Label, ...]:
        """The labels in the capture itself."""
        return super().labels

    @property
    def attributions(self) -> tuple[Explanation, ...]:
        """What was explained of its tokens, in the order in which it was."""
        return (*self._stored_attributions[0], *self.attribution_file.current)

    @cached_property
    def _stored_attributions(self) -> tuple[tuple[Explanation, ...], str]:
        """Those in the capture itself, and what was left out of them."""
        with self.contents.lock:
            return read_explanations(self.contents.file) if self.contents.has(GROUP) else ((), "")

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What is missing or special, a line each."""
        lines = list(self.contents.lines)
        if self.contents.state == State.RECORDING:
            lines.append(f"the recording was cut short or is still running; {self.n_passes:,} passes were saved")
        elif self.contents.state == State.RECOVERED:
            lines.append(f"the recording was cut short; {self.n_passes:,} passes were recovered")
        problems = (
            self.stored_overrides[1],
            self.label_file.problem,
            self._stored_attributions[1],
            self.attribution_file.problem,
        )
        lines += [problem for problem in problems if problem]
        return tuple(lines)
