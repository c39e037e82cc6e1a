"""Which experts work on the same tokens as one expert, and which are used alike."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from moedesk.analysis.expert.survey import Survey
from moedesk.analysis.measures.pairs import directed, lift

Friendship = Literal["directed", "lift", "jaccard"]
FRIENDSHIPS: tuple[Friendship, ...] = get_args(Friendship)
FORMULAS: dict[Friendship, str] = {
    "directed": "N(i,j) ÷ N(i): of the tokens of expert i, the share that j has as well; 0 to 1, not symmetric",
    "lift": "N(i,j)·T ÷ (N(i)·N(j)): how many times more often together than independent choices; 1 is chance",
    "jaccard": "N(i,j) ÷ (N(i) + N(j) − N(i,j)): overlap of the two experts' token sets; 0 to 1",
}
FEWEST = 20
"""Tokens that a pair must be expected on, by chance, before its lift says anything."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Friend:
    """Another expert of the same layer.

    Attributes
    ----------
    expert : int
    value : float
        By the convention asked for.
    together : int
        Tokens that both have.
    tokens : int
        Tokens that the other one has.
    """

    expert: int
    value: float
    together: int
    tokens: int


def friendship(found: Survey, convention: Friendship) -> Floats:
    """Return (E, E) how strongly experts go together; NaN on the diagonal and where too little was seen to say.

    For lift that is where chance alone would give fewer than ``FEWEST`` tokens.
    """
    if convention == "directed":
        return directed(found.pairs)
    if convention == "lift":
        ratios = lift(found.pairs)
        expected = np.outer(found.alone, found.alone) / max(1, found.tokens)
        return np.where(expected >= FEWEST, ratios, np.nan)
    return jaccard(found)


def jaccard(found: Survey) -> Floats:
    """Return (E, E) overlap of token sets; NaN on the diagonal and of two experts without a token."""
    union = found.alone[:, None] + found.alone - found.together
    values = np.where(union > 0, found.together / np.maximum(1, union), np.nan)
    np.fill_diagonal(values, np.nan)
    return values


def friends(found: Survey, expert: int, convention: Friendship = "directed", limit: int = 10) -> tuple[Friend, ...]:
    """Return the experts that most go with one, the strongest first; of equal ones the lowest number first."""
    return _ranked(friendship(found, convention)[expert], found, expert, limit)


def alike(found: Survey, expert: int, limit: int = 10) -> tuple[Friend, ...]:
    """Return the experts whose vocabulary is most like one's: the cosine of how often each token id came.

    Each count n(x,e) is divided by √n(x), so that ids that are everywhere don't make all experts alike.
    """
    vocabulary, experts = found.vocabulary, found.layer.experts
    of_id, of_expert = np.divmod(vocabulary.keys, experts)
    place = np.searchsorted(vocabulary.ids, of_id)
    weight = vocabulary.counts / np.sqrt(vocabulary.seen[place]) if len(place) else np.zeros(0)
    mine = np.zeros(len(vocabulary.ids))
    ours = of_expert == expert
    mine[place[ours]] = weight[ours]
    dot = np.bincount(of_expert, weight * mine[place], minlength=experts)
    norm = np.sqrt(np.bincount(of_expert, weight * weight, minlength=experts))
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = dot / (norm * norm[expert])
    cosine[expert] = np.nan
    return _ranked(cosine, found, expert, limit)


def _ranked(values: Floats, found: Survey, expert: int, limit: int) -> tuple[Friend, ...]:
    known = np.flatnonzero(np.isfinite(values) & (values > 0))
    order = known[np.argsort(-values[known], kind="stable")][:limit]
    return tuple(Friend(int(e), float(values[e]), int(found.together[expert, e]), int(found.alone[e])) for e in order)
