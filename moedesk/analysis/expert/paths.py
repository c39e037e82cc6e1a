"""Where an expert's tokens come from and go to: first choices at the layers around, d19 for one expert."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from moedesk.analysis.chunks import Chunks, Ticket
from moedesk.analysis.measures.rows import Rows, first_choice
from moedesk.core.model import LayerInfo
from moedesk.core.store import LayerLike, Store

SAMPLE = 1 << 18
"""Token rows read at each layer; of more, an even sample of whole pieces."""
OTHERS = -1
"""Stands for the experts of a layer that are bundled."""
NONE = -2
"""Stands for no expert: dropped, or the layer did not see the token."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PathNode:
    """Where the tokens are at one layer.

    Attributes
    ----------
    layer : int
        Place in the model's layers.
    expert : int
        First choice; or ``OTHERS``, ``NONE``.
    tokens : int
    chance : float
        How many of them would be here if the layer's choice did not depend on the expert: by its share of all tokens.
    experts : int
        How many experts these are: 1, or those bundled that have a token.
    """

    layer: int
    expert: int
    tokens: int
    chance: float
    experts: int = 1


@dataclass(frozen=True)
class PathFlow:
    """Tokens that go from a node of one column to a node of the next.

    Attributes
    ----------
    column : int
        Of the node they come from.
    source, target : int
        Places in their columns.
    tokens : int
    """

    column: int
    source: int
    target: int
    tokens: int


@dataclass(frozen=True)
class Paths:
    """The paths of the tokens whose first choice is one expert.

    Attributes
    ----------
    columns : tuple of tuple of PathNode
        A column a layer, in order; most tokens first, then the bundled ones, then those without an expert.
    flows : tuple of PathFlow
    tokens : int
        Tokens of the expert.
    seen : int
        Tokens of the layer.
    rows, left_out : int
        Token rows looked at, and not looked at because there are too many.
    """

    columns: tuple[tuple[PathNode, ...], ...]
    flows: tuple[PathFlow, ...]
    tokens: int
    seen: int
    rows: int
    left_out: int


def paths(
    store: Store,
    layer: LayerLike,
    expert: int,
    first: int = 0,
    last: int | None = None,
    reach: int = 2,
    limit: int = 6,
    ticket: Ticket | None = None,
    sample: int = SAMPLE,
) -> Paths:
    """Return first choices, before and after, of the tokens whose first choice at a layer is an expert; padding left out.

    Parameters
    ----------
    reach : int
        Layers of the same stream on either side.
    limit : int
        Experts that are named at each layer; the others are bundled.
    """
    info = store.model.layer(layer)
    around = _around(store, info, reach)
    shapes = [one.experts + 1 for one in around]  # the last place: no expert
    tables = [np.zeros((a, b), np.int64) for a, b in pairwise(shapes)]
    ours, everyone = ([np.zeros(shape, np.int64) for shape in shapes] for _ in range(2))
    span = store.token_span(first, store.n_passes if last is None else last, info.stream)
    chunks = Chunks(*span, limit=sample)
    for i, j in chunks.walk(ticket):
        here = Rows(store, info, i, j, store.read_tokens(i, j, info.stream))
        mine = here.first_choice == expert
        choices = []
        for place, one in enumerate(around):
            found = first_choice(store.experts(one, i, j)[here.kept], store.weights(one, i, j)[here.kept])
            found = np.where(found < 0, one.experts, found)
            everyone[place] += np.bincount(found, minlength=shapes[place])
            choices.append(found[mine])
            ours[place] += np.bincount(choices[-1], minlength=shapes[place])
        for table, before, after in zip(tables, choices, choices[1:], strict=False):
            table += np.bincount(before * table.shape[1] + after, minlength=table.size).reshape(table.shape)
    bundles = [_Bundle.of(one, ours[place], everyone[place], limit) for place, one in enumerate(around)]
    flows = [
        PathFlow(column, int(a), int(b), int(tokens))
        for column, table in enumerate(tables)
        for (a, b), tokens in np.ndenumerate(bundles[column].sum(bundles[column + 1].sum(table.T).T))
        if tokens
    ]
    place = around.index(info)
    return Paths(
        tuple(bundle.nodes for bundle in bundles),
        tuple(flows),
        int(ours[place].sum()),
        int(everyone[place].sum()),
        chunks.read,
        chunks.left_out,
    )


@dataclass(frozen=True)
class _Bundle:
    """Which node each expert of a layer belongs to; -1 for one without a token."""

    nodes: tuple[PathNode, ...]
    node_of: Ints

    @classmethod
    def of(cls, layer: LayerInfo, ours: Ints, everyone: Ints, limit: int) -> "_Bundle":
        expected = everyone * (ours.sum() / max(1, everyone.sum()))
        ranked = [int(e) for e in np.argsort(-ours[:-1], kind="stable") if ours[e]]
        # One more is as well shown as called "others".
        named, rest = (ranked, []) if len(ranked) <= limit + 1 else (ranked[:limit], ranked[limit:])
        groups = [(e, [e]) for e in named]
        groups += [(OTHERS, rest)] if rest else []
        groups += [(NONE, [layer.experts])] if ours[-1] else []
        node_of = np.full(len(ours), -1)
        for place, (_, members) in enumerate(groups):
            node_of[members] = place
        nodes = tuple(
            PathNode(layer.place, name, int(ours[members].sum()), float(expected[members].sum()), len(members))
            for name, members in groups
        )
        return cls(nodes, node_of)

    def sum(self, table: Ints) -> Ints:
        """Return a table with the rows of each node added up."""
        total = np.zeros((len(self.nodes), table.shape[1]), np.int64)
        known = self.node_of >= 0
        np.add.at(total, self.node_of[known], table[known])
        return total


def _around(store: Store, layer: LayerInfo, reach: int) -> list[LayerInfo]:
    """The layer with its neighbours of the same stream."""
    stream = [one for one in store.model.layers if one.stream == layer.stream]
    place = stream.index(layer)
    return stream[max(0, place - reach) : place + reach + 1]
