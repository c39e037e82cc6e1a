"""One reading of a layer's rows, from which the friends, twins, vocabulary, labels and repetition of all its experts follow."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from moedesk.analysis.chunks import Chunks, Ticket
from moedesk.analysis.expert.repetition import ExpertRepetition
from moedesk.analysis.measures.measure import Sums, add
from moedesk.analysis.measures.pairs import Coactivation
from moedesk.analysis.measures.rows import Rows
from moedesk.analysis.measures.vocabulary import Pairs
from moedesk.core.label import labelled, names_of
from moedesk.core.model import LayerInfo
from moedesk.core.store import LayerLike, Store

SAMPLE = 1 << 19
"""Token rows that a survey reads; of more, an even sample of whole pieces."""
ROWS = 1 << 15
"""Token rows of a piece."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Survey:
    """What the rows of one layer say of its experts. Padding and tokens that the layer did not see are left out.

    Attributes
    ----------
    layer : LayerInfo
    tokens : int
    alone : (E,) int64
        N(i): tokens of each expert, in any slot.
    together : (E, E) int64
        N(i,j): tokens of both, 0 on the diagonal.
    vocabulary : Pairs
        How often each token id was seen, and with each expert.
    repetition : dict of arrays
        ``pairs`` neighbours within sequences; of each expert ``had``: in the first of them, ``has``: in the second, ``both``.
    labels : tuple of str
    label_tokens : (D,) int64
        Tokens of each label.
    label_counts : (D, E) int64
        Slots of each label and expert.
    rows, left_out : int
        Token rows looked at, and not looked at because there are too many.
    """

    layer: LayerInfo
    tokens: int
    alone: Ints
    together: Ints
    vocabulary: Pairs
    repetition: Sums
    labels: tuple[str, ...]
    label_tokens: Ints
    label_counts: Ints
    rows: int
    left_out: int

    @cached_property
    def pairs(self) -> Sums:
        """As the functions of ``measures.pairs`` take it."""
        return {"tokens": np.asarray(self.tokens), "alone": self.alone, "together": self.together}

    @property
    def sample(self) -> str:
        """Which rows were read, in one line."""
        if not self.left_out:
            return f"all {self.rows:,} token rows"
        return f"an even sample of {self.rows:,} of {self.rows + self.left_out:,} token rows"


def survey(
    store: Store,
    layer: LayerLike,
    first: int = 0,
    last: int | None = None,
    ticket: Ticket | None = None,
    sample: int = SAMPLE,
    rows: int = ROWS,
) -> Survey:
    """Read the rows of passes first…last (end excluded) at a layer.

    Parameters
    ----------
    sample : int
        Read no more than about this many token rows.
    rows : int
        Token rows of a piece.
    """
    info = store.model.layer(layer)
    experts = info.experts
    span = store.token_span(first, store.n_passes if last is None else last, info.stream)
    chunks = Chunks(*span, limit=sample, rows=rows)
    names = names_of(store.labels)
    coactivation, repetition = Coactivation(), ExpertRepetition()
    nothing = np.zeros(0, np.int64)
    together: Sums = {}
    vocabulary = Pairs(nothing, nothing, nothing, nothing)
    stretch = None
    label_tokens = np.zeros(len(names), np.int64)
    label_counts = np.zeros((len(names), experts), np.int64)
    for i, j in chunks.walk(ticket):
        part = Rows(store, info, i, j, store.read_tokens(i, j, info.stream))
        ids = part.experts.astype(np.int64)
        together = add(together, coactivation.partial(part))
        vocabulary += Pairs.of(part.tokens["token_id"], ids, experts)
        more = repetition.partial(part)
        stretch = more if stretch is None else repetition.combine(stretch, more)
        for place, name in enumerate(names):
            mine = labelled(store.labels, name, info.stream, i, part.all_tokens["pass"])[part.kept]
            label_tokens[place] += np.count_nonzero(mine)
            label_counts[place] += np.bincount(ids[mine][ids[mine] >= 0], minlength=experts)
    zero = np.zeros(experts, np.int64)
    return Survey(
        info,
        int(together.get("tokens", 0)),
        together.get("alone", zero),
        together.get("together", np.zeros((experts, experts), np.int64)),
        vocabulary,
        stretch[1].sums if stretch else {"pairs": 0, "had": zero, "has": zero, "both": zero},
        names,
        label_tokens,
        label_counts,
        chunks.read,
        chunks.left_out,
    )
