"""What is compared, and what comes of it, seen from the session that the panel belongs to. No Qt."""

from dataclasses import dataclass
from functools import cached_property

from moedesk.analysis.chunks import Ticket
from moedesk.analysis.diff.gather import StreamDiff
from moedesk.analysis.diff.layer_diff import LayerDiff
from moedesk.analysis.diff.report import RoutingDiff, diff
from moedesk.core.store import Store

VERDICTS = {
    "same": ("success", "The same"),
    "noise": ("info", "Numerical noise"),
    "logic": ("warning", "A logic difference"),
}
"""Icon and words of each verdict."""


@dataclass(frozen=True)
class Question:
    """What to compare.

    Attributes
    ----------
    mine, other : Store
        Of the panel's session, and of the one it is compared with.
    swapped : bool
        Whether the other one is A.
    precision : str or None
        A key of ``verdict.PRECISION``; None for what is recorded.
    """

    mine: Store
    other: Store
    swapped: bool = False
    precision: str | None = None

    @property
    def a(self) -> Store:
        """What is compared with."""
        return self.other if self.swapped else self.mine

    @property
    def b(self) -> Store:
        """What is compared."""
        return self.mine if self.swapped else self.other


@dataclass(frozen=True)
class LayerPair:
    """One layer of A with its counterpart in B.

    Attributes
    ----------
    stream : StreamDiff
    place : int
        In ``stream.layers``.
    mine : int
        Place of the layer in the model of the panel's session.
    first : int
        Tokens that flip here for the first time.
    """

    stream: StreamDiff
    place: int
    mine: int
    first: int

    @property
    def layer(self) -> LayerDiff:
        """The numbers."""
        return self.stream.layers[self.place]

    @property
    def path(self) -> str:
        """Path in A."""
        return self.layer.layer.path


@dataclass(frozen=True)
class Comparison:
    """The answer to a question.

    Attributes
    ----------
    question : Question
    found : RoutingDiff
    passes : tuple of int
        Passes of A and of B that it is about.
    """

    question: Question
    found: RoutingDiff
    passes: tuple[int, int]

    @cached_property
    def pairs(self) -> tuple[LayerPair, ...]:
        """The layers, in the order in which tokens pass them."""
        pairs = []
        for stream in self.found.streams:
            first = stream.first_divergent
            for place, layer in enumerate(stream.layers):
                mine = stream.counterparts[place] if self.question.swapped else layer.layer
                pairs.append(LayerPair(stream, place, mine.place, int(first[place])))
        return tuple(sorted(pairs, key=lambda pair: pair.layer.layer.place))

    @property
    def outdated(self) -> bool:
        """Whether passes came to one of the two since."""
        return self.passes != (self.question.a.n_passes, self.question.b.n_passes)

    def pair_of(self, mine: int | None) -> LayerPair | None:
        """Return the pair of a layer of the panel's session; None if it isn't compared."""
        return next((pair for pair in self.pairs if pair.mine == mine), None)

    def pair_at(self, path: str) -> LayerPair | None:
        """Return the pair by its path in A."""
        return next((pair for pair in self.pairs if pair.path == path), None)


def compare(question: Question, ticket: Ticket | None = None) -> Comparison:
    """Compare two captures.

    Raises
    ------
    MoedeskError
        If they can't be compared, in one line.
    """
    passes = (question.a.n_passes, question.b.n_passes)
    return Comparison(question, diff(question.a, question.b, question.precision, ticket), passes)


@dataclass(frozen=True)
class Number:
    """A number with its name and convention."""

    name: str
    value: str
    convention: str


def numbers(found: RoutingDiff) -> tuple[Number, ...]:
    """Return what the header says in numbers."""
    only_a = sum(stream.alignment.only_a for stream in found.streams)
    only_b = sum(stream.alignment.only_b for stream in found.streams)
    return (
        Number(
            "Tokens aligned",
            f"{found.tokens_aligned:,}",
            "Tokens of the same text in both, by sequence, place and token id; padding is left out",
        ),
        Number("Left out", f"{only_a:,} of A, {only_b:,} of B", found.left_out or "Every token has its counterpart"),
        Number(
            "Decisions that flip",
            f"{found.flip_rate:.3%}",
            "Share of decisions (token × layer) whose set of experts differs; the order of the experts doesn't matter",
        ),
        Number("Tokens that flip", f"{found.token_flip_rate:.3%}", "Share of tokens with another set at any layer"),
        Number(
            "Weight TV",
            f"{found.weight_tv:.3g}",
            "Mean over decisions of ½ Σₑ |w_A − w_B| over all experts: 0 equal, 1 nothing in common (if weights sum to 1)",
        ),
    )
