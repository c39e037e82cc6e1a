"""What every panel and every analysis reads, whether a file or a live model is behind it."""

from dataclasses import dataclass
from typing import Literal, Protocol, overload

import numpy as np
import numpy.typing as npt

from moedesk.core.acted import Acted
from moedesk.core.attribution import Explanation
from moedesk.core.label import Label
from moedesk.core.model import LayerInfo, ModelInfo

LayerLike = LayerInfo | str | int
"""A layer by itself, its path, or its place in ``model.layers``."""


@dataclass(frozen=True)
class LoadBlocks:
    """Expert counts of consecutive blocks of passes.

    Attributes
    ----------
    edges : (B + 1,) int64
        Block b covers passes ``edges[b]`` to ``edges[b + 1]``, end excluded.
    counts : (B, R) uint32
        Slots per block and expert, padding left out. The R columns are the experts of layer 0, then of layer 1, ….
    offsets : (L + 1,) int64
        Layer l has columns ``offsets[l]`` to ``offsets[l + 1]``.
    """

    edges: npt.NDArray[np.int64]
    counts: npt.NDArray[np.uint32]
    offsets: npt.NDArray[np.int64]


class Store(Protocol):
    """Append-only routing data. Every call may read a file: call it from a worker, never from the GUI thread.

    Passes are named by their place 0…n_passes-1 (which is their ``id``), tokens by their row within a stream. ``i, j`` are
    half-open row ranges; left out, they mean everything.
    """

    @property
    def name(self) -> str:
        """What to call it in a title: the file's name, or the session's."""

    @property
    def revision(self) -> int:
        """Grows whenever data is added; a file's never does."""

    @property
    def complete(self) -> bool:
        """Whether the recording was closed properly."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is missing or special, a line each: killed writer, byte budget reached, layers left out, …."""

    @property
    def model(self) -> ModelInfo:
        """The model it was recorded from."""

    @property
    def n_passes(self) -> int:
        """Number of passes."""

    def n_tokens(self, stream: str | None = None) -> int:
        """Return the number of token rows in a stream (None: the main one)."""

    def read_passes(self, i: int = 0, j: int | None = None) -> np.ndarray:
        """Return passes i…j, dtype ``columns.PASS``."""

    def read_tokens(self, i: int = 0, j: int | None = None, stream: str | None = None) -> np.ndarray:
        """Return token rows i…j of a stream, dtype ``columns.TOKEN``."""

    def token_span(self, first: int, last: int, stream: str | None = None) -> tuple[int, int]:
        """Return the rows i, j of the tokens of passes first…last (end excluded) in a stream."""

    def token_text(self, ids: npt.ArrayLike) -> list[str]:
        r"""Return a text for each token id: ``⟨17⟩`` if the capture has none, ``\xc3`` for a byte that is no character."""

    def text(self, i: int, j: int, stream: str | None = None) -> str:
        """Return the text of token rows i…j, characters split over several tokens put together."""

    def experts(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.signedinteger]:
        """Return (tokens, k) expert ids in slot order, -1 where a slot was dropped or the layer did not see the token."""

    def weights(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (tokens, k) gate weights as the experts received them."""

    def entropy(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (tokens,) entropies of softmax(logits) over all experts, in nats; NaN if unknown."""

    def margin(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (tokens,) margins: score of rank k minus rank k+1 in the score the router ranks by; NaN if unknown."""

    def flags(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.uint8]:
        """Return (tokens,) ``columns.RouteFlag`` bits."""

    def logits(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32] | None:
        """Return (tokens, E) router logits, or None if they were not recorded."""

    @overload
    def counts(self, layer: LayerLike, by: Literal["capture"] = "capture") -> npt.NDArray[np.int64]: ...
    @overload
    def counts(self, layer: LayerLike, by: Literal["pass"]) -> npt.NDArray[np.int64]: ...
    def counts(self, layer: LayerLike, by: Literal["capture", "pass"] = "capture") -> npt.NDArray[np.int64]:
        """Return (E,) slots per expert over the capture, or (passes, E) for each pass; padding left out, always exact."""

    def window_counts(self, first: int = 0, last: int | None = None) -> list[npt.NDArray[np.int64]]:
        """Return for each layer the (E,) slots per expert over passes first…last; padding left out, exact."""

    def load_blocks(self, first: int, last: int, columns: int) -> LoadBlocks:
        """Return counts for at most about ``columns`` blocks that cover passes first…last.

        The work depends on ``columns`` and the number of experts, not on how many passes or tokens the range holds: a block
        is one pass where that is affordable, else as many as the stored summary has. Blocks may reach beyond the range at
        its ends by less than one block.
        """

    @property
    def labels(self) -> tuple[Label, ...]:
        """What passes and token rows were labelled as."""

    @property
    def attributions(self) -> tuple[Explanation, ...]:
        """What was explained of its tokens, in the order in which it was."""

    @property
    def overrides(self) -> tuple[Acted, ...]:
        """The overrides that acted on its passes, in the order in which they first did."""

    @property
    def n_steps(self) -> int:
        """Number of training steps."""

    def read_steps(self, i: int = 0, j: int | None = None) -> np.ndarray:
        """Return training steps i…j, dtype ``columns.STEP``."""

    def gradients(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (steps, E) L2 norms of the gradient of each expert's parameters; NaN where they were not measured."""

    def output_norms(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (steps, E) mean L2 norms of each expert's output over its tokens; NaN without any, or not measured."""

    def router_gradients(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (steps,) L2 norms of the gradient of the router's parameters; NaN where they were not measured."""

    def shared_gradients(self, layer: LayerLike, i: int = 0, j: int | None = None) -> npt.NDArray[np.float32]:
        """Return (steps,) L2 norms of the gradient of the shared experts' parameters; NaN without any, or not measured."""
