"""One attached model, as the link sends it."""

import numpy as np

from moedesk.core.batch import RouteBatch
from moedesk.core.columns import PassFlag
from moedesk.core.live import Counters
from moedesk.core.model import ModelInfo
from moedesk.core.training import TrainingStep
from moedesk.core.vocabulary import Texts, Unseen
from moedesk.link.hub import Hub
from moedesk.link.message import encode, whole
from moedesk.link.model_json import model_to_json
from moedesk.link.protocol import HARD_LIMIT, HIGH_WATER, MAX_PASS
from moedesk.link.routes import counts_of, encode_batch
from moedesk.link.steps import encode_step


class StreamSink:
    """A sink for the routing of one model (``probe.courier.Sink``); made by ``LinkServer.open_stream``.

    Calls come from one thread at a time and never wait for a client. What doesn't fit is left out and counted.

    Parameters
    ----------
    hub : Hub
    name : str
        What to call the model.
    vocabulary : callable or None
        Gives the bytes of token ids; called within ``append``, once for each id that a client is about to get.
    """

    def __init__(self, hub: Hub, name: str, vocabulary: Texts | None = None) -> None:
        self._hub = hub
        self._record = hub.open(name)
        self._vocabulary = vocabulary
        self._unseen = Unseen()
        self._closed = False

    @property
    def number(self) -> int:
        """The stream's number, as clients name it."""
        return self._record.number

    @property
    def stopped(self) -> str | None:
        """Why nothing more is sent, in one line; None while all is well, client or no client."""
        return self._hub.failure

    @property
    def counters(self) -> Counters:
        """What ran and what was left out; of several clients, each pass counts as with the one that got least of it."""
        return self._hub.counters(self._record) if self._hub.alive else self._record.counters

    def describe(self, model: ModelInfo) -> None:
        """Say what the model is; again when more layers turned up. Comes before the first ``append``."""
        if self._open:
            text = whole("json", np.frombuffer(model_to_json(model), np.uint8))
            self._hub.describe(self._record, encode("described", {"stream": self.number}, (text,)))

    def append(self, batch: RouteBatch) -> None:
        """Send the routing of one pass, or of it what there is room for; its arrays must not change afterwards.

        With no client connected the pass counts as dropped.
        """
        if not self._open:
            return
        some_whole, some_counts = self._hub.wishes()
        full = counts = None
        if some_whole or some_counts:
            self._add_texts(batch)
            if batch.header["flags"] & PassFlag.COUNTS_ONLY:  # nothing can be shed of it
                full = encode_batch(self.number, batch)
            else:
                if some_whole and batch.nbytes <= MAX_PASS:
                    full = encode_batch(self.number, batch)
                if some_counts or full is None or full.nbytes > HARD_LIMIT - HIGH_WATER:
                    counts = encode_batch(self.number, counts_of(batch))
        self._hub.offer(self._record, full, counts, sum(len(rows) for rows in batch.tokens.values()))

    def append_step(self, step: TrainingStep) -> None:
        """Send one training step, after its passes; a client that has no room for it, or comes later, lacks it."""
        if self._open:
            self._hub.step(self._record, encode_step(self.number, step))

    def note(self, line: str) -> None:
        """Send one line that says what is missing or special."""
        if self._open:
            self._hub.note(self._record, encode("noted", {"stream": self.number, "line": line}))

    def count(self, **increments: int) -> None:
        """Add to the counters what happened before ``append``: passes that ran, hook time, what the probe itself left out."""
        if self._open:
            self._hub.count(self._record, increments)

    def close(self) -> None:
        """Send the last counters and the end; later calls are ignored. Returns at once."""
        if self._open:
            self._closed = True
            self._hub.close(self._record)

    @property
    def _open(self) -> bool:
        return not self._closed and self._hub.alive

    def _add_texts(self, batch: RouteBatch) -> None:
        for tokens in batch.tokens.values():
            if self._vocabulary is None:
                return
            new = self._unseen.take(tokens["token_id"])
            if not len(new):
                continue
            try:
                texts = self._vocabulary(new)
                if len(texts) != len(new):
                    raise ValueError(f"{len(texts)} texts for {len(new)} ids")
            except Exception as error:  # whatever a tokenizer raises must not reach the model
                self._vocabulary = None
                self.note(f"token texts are missing from here on: {type(error).__name__}: {error}")
                return
            self._hub.add_texts(self._record, new, texts)
