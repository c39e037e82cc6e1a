"""How much an expert's tokens are its own: vocabulary specialisation of one expert."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moedesk.analysis.expert.survey import Survey
from moedesk.analysis.experts import share_intervals
from moedesk.analysis.measures.vocabulary import FEWEST


@dataclass(frozen=True)
class OwnToken:
    """A token id and how much of it goes to the expert.

    Attributes
    ----------
    token_id, count, seen : int
        n(x,e) and n(x): uses with the expert, and in all.
    low : float
        Lower end of the 95 % Wilson interval of count / seen.
    """

    token_id: int
    count: int
    seen: int
    low: float

    @property
    def share(self) -> float:
        """n(x,e) / n(x)."""
        return self.count / self.seen


@dataclass(frozen=True)
class ExpertVocabulary:
    """The vocabulary of one expert; n(x,e) over all k slots, unknown ids left out.

    Attributes
    ----------
    tokens, different : int
        Uses of the expert, and how many different ids these are.
    specialization : float
        Σ_x n(x,e)·n(x,e)/n(x) ÷ Σ_x n(x,e): of the other uses of its tokens' ids, how many come here too. NaN without tokens.
    specialization_often : float
        The same over ids with n(x) ≥ ``FEWEST``: a single occurrence always scores 1.
    chance : float
        Σ_x n(x,e) ÷ Σ_x n(x): what an expert gives that takes its tokens whatever their id.
    effective, effective_all : float
        exp(H) of the ids of its tokens, and of all tokens: as many even ids as this.
    own_ids : int
        Ids with n(x) ≥ ``FEWEST`` of which no expert has more uses.
    often_ids : int
        Ids with n(x) ≥ ``FEWEST``.
    own : tuple of OwnToken
        Ids with n(x) ≥ ``FEWEST`` by the lower end of their share's interval.
    """

    tokens: int
    different: int
    specialization: float
    specialization_often: float
    chance: float
    effective: float
    effective_all: float
    own_ids: int
    often_ids: int
    own: tuple[OwnToken, ...]


def expert_vocabulary(found: Survey, expert: int, limit: int = 12) -> ExpertVocabulary:
    """Return the vocabulary of one expert from its layer's survey."""
    vocabulary, experts = found.vocabulary, found.layer.experts
    of_id, of_expert = np.divmod(vocabulary.keys, experts)
    place = np.searchsorted(vocabulary.ids, of_id)
    mine = np.zeros(len(vocabulary.ids), np.int64)
    ours = of_expert == expert
    mine[place[ours]] = vocabulary.counts[ours]
    most = np.zeros(len(vocabulary.ids), np.int64)
    np.maximum.at(most, place, vocabulary.counts)
    seen = vocabulary.seen
    often = seen >= FEWEST
    low, _ = share_intervals(mine, seen)
    candidates = np.flatnonzero(often & (mine > 0))
    best = candidates[np.lexsort((vocabulary.ids[candidates], -low[candidates]))][:limit]
    total = int(seen.sum())
    return ExpertVocabulary(
        int(mine.sum()),
        int(np.count_nonzero(mine)),
        _specialization(mine, seen),
        _specialization(mine[often], seen[often]),
        float(mine.sum() / total) if total else float("nan"),
        _effective(mine),
        _effective(seen),
        int(np.count_nonzero(often & (mine > 0) & (mine == most))),
        int(np.count_nonzero(often)),
        tuple(OwnToken(int(vocabulary.ids[x]), int(mine[x]), int(seen[x]), float(low[x])) for x in best),
    )


def _specialization(mine: npt.NDArray[np.int64], seen: npt.NDArray[np.int64]) -> float:
    return float((mine * (mine / np.maximum(1, seen))).sum() / mine.sum()) if mine.any() else float("nan")


def _effective(counts: npt.NDArray[np.int64]) -> float:
    """Exp of the entropy of shares of counts; NaN without any."""
    known = counts[counts > 0]
    if not len(known):
        return float("nan")
    shares = known / known.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
