"""A recording that goes on, as a ``Store``."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, overload

import numpy as np
import numpy.typing as npt

from moedesk.capture.attribution_file import AttributionFile
from moedesk.capture.contents import Contents
from moedesk.capture.file import CaptureFile
from moedesk.capture.label_file import LabelFile
from moedesk.capture.recorded import RecordedContents
from moedesk.capture.routing import Routing
from moedesk.capture.rows import LazyRows
from moedesk.capture.schema import State
from moedesk.capture.stored import CLOSED
from moedesk.core.acted import Acted
from moedesk.core.attribution import Explanation
from moedesk.core.errors import CaptureError
from moedesk.core.label import Label
from moedesk.core.model import ModelInfo
from moedesk.core.store import LayerLike, LoadBlocks


class LiveCapture:
    """What a ``CaptureWriter`` has taken so far; implements ``moedesk.core.store.Store``, where every method is described.

    All of it answers for one moment, until ``publish`` goes on to the newest. Threads of the writer's process may share it; they
    read rows from the file, and those not written yet from memory. It goes on answering after the writer was closed or stopped.

    Attributes
    ----------
    name : str
        What to call it in a title; the file's name at first.
    path : Path
        The file being written.
    revision : int
        Grows with every ``publish`` that found something new.
    label_file : LabelFile
        Labels given after the recording.
    attribution_file : AttributionFile
        Explanations given meanwhile and after the recording.
    """

    def __init__(self, path: Path, file: CaptureFile, newest: Callable[[], RecordedContents]) -> None:
        self.path, self.name = path, path.name
        self.revision = 0
        self.label_file = LabelFile(path, file.created)
        self.attribution_file = AttributionFile(path, file.created)
        self._file, self._newest = file, newest
        self._contents = newest()
        self._routing: Routing | None = Routing(self._contents)
        file.watch()

    def __repr__(self) -> str:
        return f"<live capture {self.name} of {self.model.name}: {self.n_passes:,} passes>"

    def publish(self) -> bool:
        """Go on to what the writer has taken by now; return whether anything is new. It never waits."""
        newest = self._newest()
        if newest is self._contents or self._routing is None:
            return False
        self._routing = Routing(newest)  # first: whoever knows of a pass must be able to ask about it
        self._contents = newest
        self.revision += 1
        return True

    def close(self) -> None:
        """Let go of the file; queries afterwards raise CaptureError. The writer goes on."""
        if self._routing is not None:
            self._routing = None
            self._file.unwatch()

    @property
    def now(self) -> Routing:
        """What is published, which stays as it is.

        Raises
        ------
        CaptureError
            If the capture is closed.
        """
        if self._routing is None:
            raise CaptureError(CLOSED)
        return self._routing

    def snapshot(self) -> "Snapshot":
        """Return a Store of what is published, which stays as it is: for work that takes longer than the next ``publish``.

        Raises
        ------
        CaptureError
            If the capture is closed.
        """
        return Snapshot(self.now.contents, self.name, self.revision)

    @property
    def complete(self) -> bool:
        """Whether the recording was closed properly."""
        return self._contents.state == State.COMPLETE

    @property
    def state(self) -> State:
        """What became of the recording."""
        return self._contents.state

    @property
    def notes(self) -> tuple[str, ...]:
        """What is missing or special, a line each."""
        return self._contents.lines

    @property
    def model(self) -> ModelInfo:
        """The model it is recorded from; one without layers before it is known."""
        return self._contents.model

    @property
    def n_passes(self) -> int:
        """Number of passes."""
        return self._contents.n_passes

    @property
    def passes(self) -> LazyRows:
        """All passes, dtype ``columns.PASS``, read where indexed."""
        return self.now.passes

    @property
    def tokens(self) -> LazyRows:
        """All token rows of the main stream, dtype ``columns.TOKEN``, read where indexed."""
        return self.now.tokens

    def n_tokens(self, stream: str | None = None) -> int:
        """Return the number of token rows in a stream (None: the main one)."""
        return self.now.n_tokens(stream)

    def read_passes(self, i: int = 0, j: int | None = None) -> np.ndarray:
        """Return passes i…j, dtype ``columns.PASS``."""
        return self.now.read_passes(i, j)

    def read_tokens(self, i: int = 0, j: int | None = None, stream: str | None = None) -> np.ndarray:
        """Return token rows i…j of a stream, dtype ``columns.TOKEN``."""
        return self.now.read_tokens(i, j, stream)

    def token_span(self, first: int, last: int, stream: str | None = None) -> tuple[int, int]:
        """Return the rows i, j of the tokens of passes first…last (end excluded) in a stream."""
        return self.now.token_span(first, last, stream)

    def token_text(self, ids: npt.ArrayLike) -> list[str]:
        """Return a text for each token id."""
        return self.now.token_text(ids)

    def text(self, i: int, j: int, stream: str | None = None) -> str:
        """Return the text of token rows i…j."""
        return self.now.text(i, j, stream)

    def experts(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.signedinteger]:
        """Return (tokens, k) expert ids in slot order."""
        return self.now.experts(layer, i, j)

    def weights(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (tokens, k) gate weights as the experts received them."""
        return self.now.weights(layer, i, j)

    def entropy(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (tokens,) entropies of softmax(logits), in nats."""
        return self.now.entropy(layer, i, j)

    def margin(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (tokens,) margins between rank k and rank k+1."""
        return self.now.margin(layer, i, j)

    def flags(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.uint8]:
        """Return (tokens,) ``columns.RouteFlag`` bits."""
        return self.now.flags(layer, i, j)

    def logits(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32] | None:
        """Return (tokens, E) router logits, or None if they are not recorded."""
        return self.now.logits(layer, i, j)

    @overload
    def counts(self, layer: LayerLike, by: Literal["capture"] = "capture") -> npt.NDArray[np.int64]: ...
    @overload
    def counts(self, layer: LayerLike, by: Literal["pass"]) -> npt.NDArray[np.int64]: ...
    def counts(self, layer: LayerLike, by: Literal["capture", "pass"] = "capture") -> npt.NDArray[np.int64]:
        """Return (E,) slots per expert over the capture, or (passes, E) for each pass."""
        return self.now.counts(layer, by)

    def window_counts(self, first: int = 0, last: int | None = None) -> list[npt.NDArray[np.int64]]:
        """Return for each layer the (E,) slots per expert over passes first…last."""
        return self.now.window_counts(first, last)

    def load_blocks(self, first: int, last: int, columns: int) -> LoadBlocks:
        """Return counts for at most about ``columns`` blocks that cover passes first…last."""
        return self.now.load_blocks(first, last, columns)

    @property
    def labels(self) -> tuple[Label, ...]:
        """What passes and token rows were labelled as, while recording and afterwards."""
        return self.label_file.current.over(self.recorded_labels)

    @property
    def attributions(self) -> tuple[Explanation, ...]:
        """What was explained of its tokens, in the order in which it was."""
        return self.attribution_file.current

    @property
    def overrides(self) -> tuple[Acted, ...]:
        """The overrides that acted on its passes, in the order in which they first did."""
        return self.now.overrides

    @property
    def recorded_labels(self) -> tuple[Label, ...]:
        """The labels in the capture itself."""
        return self.now.labels

    @property
    def n_steps(self) -> int:
        """Number of training steps."""
        return self.now.n_steps

    @property
    def steps(self) -> LazyRows:
        """All training steps, dtype ``columns.STEP``, read where indexed."""
        return self.now.steps

    def read_steps(self, i: int = 0, j: int | None = None) -> np.ndarray:
        """Return training steps i…j, dtype ``columns.STEP``."""
        return self.now.read_steps(i, j)

    def gradients(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (steps, E) L2 norms of the gradient of each expert's parameters."""
        return self.now.gradients(layer, i, j)

    def output_norms(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (steps, E) mean L2 norms of each expert's output over its tokens."""
        return self.now.output_norms(layer, i, j)

    def router_gradients(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (steps,) L2 norms of the gradient of the router's parameters."""
        return self.now.router_gradients(layer, i, j)

    def shared_gradients(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (steps,) L2 norms of the gradient of the shared experts' parameters."""
        return self.now.shared_gradients(layer, i, j)


class Snapshot(Routing):
    """A moment of a recording that goes on; implements ``moedesk.core.store.Store``, where every method is described.

    Attributes
    ----------
    name : str
    revision : int
        The ``LiveCapture``'s at that moment.
    complete : bool
        Whether nothing of this moment is missing; a recording may go on.
    notes : tuple of str
    """

    def __init__(self, contents: Contents, name: str, revision: int) -> None:
        super().__init__(contents)
        self.name, self.revision = name, revision
        self.complete = contents.state in (State.RECORDING, State.COMPLETE)
        self.notes = contents.lines
