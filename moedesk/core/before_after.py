"""What overrides do to a text: the same tokens with and without them, as data that is printed, shown and sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from moedesk.core.before_after_text import lines
from moedesk.core.errors import MoedeskError

TASK = "before_after"
"""What the link calls it; it takes ``text``, ``max_new_tokens`` and ``record``."""
WITHOUT, WITH = "without overrides", "with overrides"
"""Labels of the passes of both runs, if they are recorded."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class BeforeAfter:
    """A text without overrides (before) and with them (after).

    The prompt, and what the model writes to it without overrides, is scored twice, in one pass each: these are the same tokens,
    so their log-probabilities and their routing can be compared. What the model writes with overrides is beside it.

    Attributes
    ----------
    ids : (T,) int64
        The prompt's tokens, then those that the model wrote without overrides.
    texts : tuple of str
        T of them.
    prompt : int
        How many of them are the prompt.
    before, after : (T,) float32
        Log-probability of each token given those before it, in nats; NaN for the first.
    written_ids : (N,) int64
        What the model wrote to the prompt with overrides.
    written : tuple of str
        N texts.
    counts_before, counts_after : tuple of (E,) int64
        Slots that each expert of each MoE layer received in the scored pass, in the order of ``ModelInfo.layers``.
    overrides : tuple of str
        Titles of those that were on.
    notes : tuple of str
        What is special, a line each.
    """

    ids: Ints
    texts: tuple[str, ...]
    prompt: int
    before: Floats
    after: Floats
    written_ids: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    written: tuple[str, ...] = ()
    counts_before: tuple[Ints, ...] = ()
    counts_after: tuple[Ints, ...] = ()
    overrides: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        tokens = len(self.ids)
        if not len(self.texts) == len(self.before) == len(self.after) == tokens or not 0 <= self.prompt <= tokens:
            raise MoedeskError(f"before and after: {tokens} tokens whose columns are of other lengths")
        if len(self.written) != len(self.written_ids) or len(self.counts_before) != len(self.counts_after):
            raise MoedeskError("before and after: columns that belong together are of other lengths")

    @property
    def loss_before(self) -> float:
        """Mean of -log-probability over the scored tokens, in nats a token; NaN without any."""
        return loss(self.before)

    @property
    def loss_after(self) -> float:
        """The same with overrides."""
        return loss(self.after)

    @property
    def first_difference(self) -> int | None:
        """At which written token, from 0, the two continuations part; None if they don't."""
        one, other = self.ids[self.prompt :], self.written_ids
        both = min(len(one), len(other))
        differing = np.flatnonzero(one[:both] != other[:both])
        if len(differing):
            return int(differing[0])
        return both if len(one) != len(other) else None

    def __repr__(self) -> str:
        return lines(self)

    def to_parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return it as JSON values, and its arrays by name."""
        value = {
            "prompt": self.prompt,
            **{name: list(getattr(self, name)) for name in ("texts", "written", "overrides", "notes")},
        }
        arrays: dict[str, np.ndarray] = {
            name: getattr(self, name) for name in ("ids", "before", "after", "written_ids")
        }
        for name in ("counts_before", "counts_after"):
            arrays |= {f"{name}.{place}": counts for place, counts in enumerate(getattr(self, name))}
        return value, arrays

    @classmethod
    def from_parts(cls, value: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Return what ``to_parts`` took apart.

        Raises
        ------
        MoedeskError
            If it is anything else.
        """
        try:
            return cls(
                np.asarray(arrays["ids"], np.int64),
                _texts(value["texts"]),
                int(value["prompt"]),
                np.asarray(arrays["before"], np.float32),
                np.asarray(arrays["after"], np.float32),
                np.asarray(arrays["written_ids"], np.int64),
                _texts(value["written"]),
                _counts(arrays, "counts_before"),
                _counts(arrays, "counts_after"),
                _texts(value["overrides"]),
                _texts(value["notes"]),
            )
        except (LookupError, TypeError, ValueError) as error:
            raise MoedeskError(f"before and after: the answer makes no sense ({error})") from None


def loss(log_probabilities: Floats) -> float:
    """Return the mean of -log-probability over the tokens that have one, in nats a token; NaN without any."""
    known = log_probabilities[~np.isnan(log_probabilities)].astype(np.float64)
    return float(-known.mean()) if len(known) else float("nan")


def _texts(values: Sequence[str]) -> tuple[str, ...]:
    if not all(isinstance(text, str) for text in values):
        raise TypeError("a text is none")
    return tuple(values)


def _counts(arrays: Mapping[str, np.ndarray], name: str) -> tuple[Ints, ...]:
    places = range(sum(key.startswith(f"{name}.") for key in arrays))
    return tuple(np.asarray(arrays[f"{name}.{place}"], np.int64) for place in places)
