"""What a ``Store`` answers, over the columns of a capture at one moment."""

from functools import cached_property
from typing import Literal, overload

import numpy as np
import numpy.typing as npt

from moedesk.capture.contents import Contents, TableInfo
from moedesk.capture.counts import CountReader
from moedesk.capture.overrides import read_overrides
from moedesk.capture.rows import LazyRows
from moedesk.core.acted import Acted
from moedesk.core.attribution import Explanation
from moedesk.core.columns import PASS, STEP, TOKEN
from moedesk.core.errors import CaptureError
from moedesk.core.label import Label, labels_of
from moedesk.core.model import ModelInfo
from moedesk.core.store import LayerLike, LoadBlocks


class Routing:
    """The queries of ``moedesk.core.store.Store``, where every method is described. Threads may share it.

    Attributes
    ----------
    contents : Contents
        The columns behind it; for this package.
    """

    def __init__(self, contents: Contents) -> None:
        self.contents = contents

    @property
    def model(self) -> ModelInfo:
        """The model it was recorded from."""
        return self.contents.model

    @property
    def n_passes(self) -> int:
        """Number of passes."""
        return self.contents.n_passes

    @property
    def passes(self) -> LazyRows:
        """All passes, dtype ``columns.PASS``, read where indexed."""
        return LazyRows(self.read_passes, self.n_passes, PASS)

    @property
    def tokens(self) -> LazyRows:
        """All token rows of the main stream, dtype ``columns.TOKEN``, read where indexed."""
        return LazyRows(self.read_tokens, self.n_tokens(), TOKEN)

    def n_tokens(self, stream: str | None = None) -> int:
        """Return the number of token rows in a stream (None: the main one)."""
        name = self._stream(stream)
        return 0 if name is None else self.contents.n_tokens(name)

    def read_passes(self, i: int = 0, j: int | None = None) -> np.ndarray:
        """Return passes i…j, dtype ``columns.PASS``."""
        i, j = _range(i, j, self.n_passes)
        passes = self.contents.column("passes").read(i, j)
        main = self._stream(None)
        if main is not None:  # streams that turned up late may have changed which is the main one
            spans = self.contents.column(f"streams/{main}/spans").read(i, j)
            passes["first_token"], passes["n_tokens"] = spans["first"], spans["count"]
        return passes

    def read_tokens(self, i: int = 0, j: int | None = None, stream: str | None = None) -> np.ndarray:
        """Return token rows i…j of a stream, dtype ``columns.TOKEN``."""
        name = self._stream(stream)
        i, j = _range(i, j, self.n_tokens(stream))
        return np.empty(0, TOKEN) if name is None else self.contents.column(f"streams/{name}/tokens").read(i, j)

    def token_span(self, first: int, last: int, stream: str | None = None) -> tuple[int, int]:
        """Return the rows i, j of the tokens of passes first…last (end excluded) in a stream."""
        name = self._stream(stream)
        first, last = _range(first, last, self.n_passes)
        if name is None or first >= last:
            return 0, 0
        spans = self.contents.column(f"streams/{name}/spans")
        end = spans[last - 1]
        return int(spans[first]["first"]), int(end["first"] + end["count"])

    def token_text(self, ids: npt.ArrayLike) -> list[str]:
        r"""Return a text for each token id: ``⟨17⟩`` if the capture has none, ``\xc3`` for a byte that is no character."""
        return self.contents.vocabulary.texts_of(np.asarray(ids, np.int64).ravel().tolist())

    def text(self, i: int, j: int, stream: str | None = None) -> str:
        """Return the text of token rows i…j, characters split over several tokens put together."""
        return self.contents.vocabulary.join(self.read_tokens(i, j, stream)["token_id"].tolist())

    def experts(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.signedinteger]:
        """Return (tokens, k) expert ids in slot order, -1 where a slot was dropped or the layer did not see the token."""
        return self._routes("experts", layer, i, j)

    def weights(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (tokens, k) gate weights as the experts received them; NaN where they are unknown."""
        return self._routes("weights", layer, i, j).astype(np.float32, copy=False)

    def entropy(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (tokens,) entropies of softmax(logits) over all experts, in nats; NaN if unknown."""
        return self._routes("entropy", layer, i, j).astype(np.float32, copy=False)

    def margin(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (tokens,) margins: score of rank k minus rank k+1 in the score the router ranks by; NaN if unknown."""
        return self._routes("margin", layer, i, j).astype(np.float32, copy=False)

    def flags(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.uint8]:
        """Return (tokens,) ``columns.RouteFlag`` bits."""
        return self._routes("flags", layer, i, j)

    def logits(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32] | None:
        """Return (tokens, E) router logits, or None if they were not recorded."""
        table, _ = self._lane(layer)
        if not self.contents.has(f"{table.path}/logits"):
            return None
        return self._routes("logits", layer, i, j).astype(np.float32, copy=False)

    @overload
    def counts(self, layer: LayerLike, by: Literal["capture"] = "capture") -> npt.NDArray[np.int64]: ...
    @overload
    def counts(self, layer: LayerLike, by: Literal["pass"]) -> npt.NDArray[np.int64]: ...
    def counts(self, layer: LayerLike, by: Literal["capture", "pass"] = "capture") -> npt.NDArray[np.int64]:
        """Return (E,) slots per expert over the capture, or (passes, E) for each pass; padding left out, always exact."""
        if by not in ("capture", "pass"):
            raise ValueError(f"counts are by 'capture' or by 'pass', not by {by!r}")
        table, lane = self._lane(layer)
        if by == "capture":
            return self.count_reader.window(table, lane, 0, self.n_passes)
        return self.count_reader.by_group(table, lane, np.arange(self.n_passes + 1))

    def window_counts(self, first: int = 0, last: int | None = None) -> list[npt.NDArray[np.int64]]:
        """Return for each layer the (E,) slots per expert over passes first…last; padding left out, exact."""
        first, last = _range(first, last, self.n_passes)
        lanes = [self._lane(layer) for layer in self.model.layers]
        return [self.count_reader.window(table, lane, first, last) for table, lane in lanes]

    def load_blocks(self, first: int, last: int, columns: int) -> LoadBlocks:
        """Return counts for at most about ``columns`` blocks that cover passes first…last.

        Blocks are as narrow as ``columns`` allows where reading the ids of the range costs little, else as the pyramid
        of counts in the file has them.
        """
        first, last = _range(first, last, self.n_passes)
        return self.count_reader.load_blocks(self.model, first, last, columns)

    @property
    def labels(self) -> tuple[Label, ...]:
        """What passes and token rows were labelled as."""
        if not self.contents.has("labels"):
            return ()
        column = self.contents.column("labels")
        return labels_of(column.read(0, len(column)), self.n_passes)

    @property
    def attributions(self) -> tuple[Explanation, ...]:
        """What was explained of its tokens; none of a moment of a recording."""
        return ()

    @property
    def overrides(self) -> tuple[Acted, ...]:
        """The overrides that acted on its passes, in the order in which they first did."""
        return self.stored_overrides[0]

    @cached_property
    def stored_overrides(self) -> tuple[tuple[Acted, ...], str]:
        """The same, and what of it could not be read, in one line (empty: nothing); for this package."""
        return read_overrides(self.contents)

    @property
    def n_steps(self) -> int:
        """Number of training steps."""
        return len(self.contents.column("steps")) if self.contents.has("steps") else 0

    @property
    def steps(self) -> LazyRows:
        """All training steps, dtype ``columns.STEP``, read where indexed."""
        return LazyRows(self.read_steps, self.n_steps, STEP)

    def read_steps(self, i: int = 0, j: int | None = None) -> np.ndarray:
        """Return training steps i…j, dtype ``columns.STEP``."""
        i, j = _range(i, j, self.n_steps)
        return self.contents.column("steps").read(i, j) if self.n_steps else np.empty(0, STEP)

    def gradients(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (steps, E) L2 norms of the gradient of each expert's parameters; NaN where they were not measured."""
        return self._norms("gradients", layer, i, j)

    def output_norms(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (steps, E) mean L2 norms of each expert's output over its tokens; NaN without any, or not measured."""
        return self._norms("outputs", layer, i, j)

    def router_gradients(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (steps,) L2 norms of the gradient of the router's parameters; NaN where they were not measured."""
        return self._norms("router", layer, i, j)

    def shared_gradients(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (steps,) L2 norms of the gradient of the shared experts' parameters; NaN without any, or not measured."""
        return self._norms("shared", layer, i, j)

    def _norms(self, name: str, layer: LayerLike, i: int, j: int | None) -> npt.NDArray[np.float32]:
        table, lane = self._lane(layer)
        i, j = _range(i, j, self.n_steps)
        path = f"{table.path}/norms/{name}"
        if self.contents.has(path):
            return self.contents.column(path).read(i, j, lane)
        width = (table.experts,) if name in ("gradients", "outputs") else ()
        return np.full((j - i, *width), np.nan, np.float32)

    @cached_property
    def count_reader(self) -> CountReader:
        """What reads counts; for this package."""
        return CountReader(self.contents, self.token_span)

    @cached_property
    def _lanes(self) -> dict[int, tuple[TableInfo, int]]:
        return {place: (table, lane) for table in self.contents.tables for lane, place in enumerate(table.places)}

    def _lane(self, layer: LayerLike) -> tuple[TableInfo, int]:
        return self._lanes[self.model.layer(layer).place]

    def _routes(self, name: str, layer: LayerLike, i: int, j: int | None) -> np.ndarray:
        table, lane = self._lane(layer)
        i, j = _range(i, j, self.n_tokens(table.stream))
        return self.contents.column(f"{table.path}/{name}").read(i, j, lane)

    def _stream(self, name: str | None) -> str | None:
        """Find a stream; None if the capture has none at all."""
        if name is None:
            return self._main
        if name not in self.contents.streams:
            known = ", ".join(self.contents.streams) or "none"
            raise CaptureError(f"no token stream {name!r}; the capture has {known}")
        return name

    @cached_property
    def _main(self) -> str | None:
        return self.model.streams[0] if self.model.layers else None


def _range(i: int, j: int | None, length: int) -> tuple[int, int]:
    """Return a range as slicing would cut it."""
    start, stop, _ = slice(i, j).indices(length)
    return start, max(start, stop)
