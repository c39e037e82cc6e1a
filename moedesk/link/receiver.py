"""What the app's side of a link is told. Every call comes on the link's own thread, in the order things were sent."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from moedesk.core.batch import RouteBatch
from moedesk.core.live import Counters
from moedesk.core.model import ModelInfo
from moedesk.core.training import TrainingStep


class Receiver(Protocol):
    """Takes what a link brings. A stream is one attached model, numbered by its server.

    ``arrived`` may block: the sender then sheds rows and counts what it sheds, it never waits.
    """

    def connected(self, about: Mapping[str, Any]) -> None:
        """The server said hello: its versions, process and protocol."""

    def opened(self, stream: int, name: str) -> None:
        """A model was attached (or was when this client connected)."""

    def described(self, stream: int, model: ModelInfo) -> None:
        """What the model is; again when more layers turned up."""

    def texts(self, stream: int, ids: np.ndarray, texts: Sequence[bytes]) -> None:
        """Bytes of token ids seen for the first time; before the first batch that has them."""

    def arrived(self, stream: int, batch: RouteBatch) -> None:
        """The routing of one pass; its arrays are read-only views that stay valid."""

    def stepped(self, stream: int, step: TrainingStep) -> None:
        """One training step, after its passes; its arrays are read-only views that stay valid."""

    def noted(self, stream: int, line: str) -> None:
        """One line that says what is missing or special."""

    def counted(self, stream: int, counters: Counters) -> None:
        """Counters, a few times a second while anything changes and once at the end."""

    def ended(self, stream: int) -> None:
        """The model was detached."""

    def revealed(self, place: Mapping[str, Any]) -> None:
        """The user asked to see something: fields of ``core.selection.Selection`` that are set, ``kind`` among them."""

    def answered(self, request: int, text: str, ok: bool) -> None:
        """The value of a live expression, as text, or its error."""

    def told(self, topic: str, value: Mapping[str, Any], stream: int) -> None:
        """How things stand with a topic, now and (after ``connected``) when this client joined; it overtakes ``opened``.

        It is about the model of a stream, or with 0 about all models of the process.
        """

    def progressed(self, request: int, share: float, text: str) -> None:
        """How far a task is; the first says that it began."""

    def finished(
        self, request: int, ok: bool, text: str, value: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> None:
        """What a task gave; with ``ok`` false why it gave nothing. The arrays are read-only views that stay valid."""

    def explained(self, stream: int, value: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """An explanation of a token of a model, which was asked for in its process: see ``core.attribution_json``."""

    def lost(self, reason: str) -> None:
        """The link is gone; one line that says why and what to do. Nothing comes afterwards.

        Comes after everything that was received; not when the app itself closed a link that was well.
        """
