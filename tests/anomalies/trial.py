"""Which faults are injected how strongly, what counts as having found them, and how often that happens."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from moedesk.analysis.audit import audit
from moedesk.analysis.diff.report import diff
from tests.anomalies import faults, mistakes
from tests.anomalies.array_store import ArrayStore
from tests.anomalies.faults import Faulty

RUNS = 20
MOST_TOKENS = 9000
"""Of the captures that faults are injected into, so that all of this takes a minute."""
"""Faulty captures of each fault and strength."""
COMPARED = "moedesk diff"
"""Stands in for a finding's id where only a comparison with a sound capture of the same texts can tell."""

Place = tuple[str, tuple[str | None, ...], int | None]
"""What was found: id, layers, expert. Of a layer that is a copy of another both are named: which one can't be told."""


@dataclass(frozen=True)
class Trial:
    """A fault at several strengths.

    Attributes
    ----------
    name : str
    strength : str
        What the strength is.
    strengths : tuple of float
    named : tuple of float
        Those at which recall is promised.
    inject : function
        Of a capture, a strength and a random generator.
    ids : frozenset of str
        Ids of the findings that are right, at the right layer and expert.
    fits : function
        Which captures it can be injected into.
    """

    name: str
    strength: str
    strengths: tuple[float, ...]
    named: tuple[float, ...]
    inject: Callable[[ArrayStore, float, np.random.Generator], Faulty]
    ids: frozenset[str]
    fits: Callable[[ArrayStore], bool] = field(default=lambda store: True)


@dataclass(frozen=True)
class Outcome:
    """What a trial at one strength gave.

    Attributes
    ----------
    runs, found : int
        Faulty captures, and those whose fault was found where it is.
    right, wrong : int
        Findings with the fault's ids at the right place; and elsewhere, or in the same captures without the fault.
    """

    trial: Trial
    strength: float
    runs: int
    found: int
    right: int
    wrong: int

    @property
    def recall(self) -> float:
        """Share of the faults that were found."""
        return self.found / self.runs

    @property
    def precision(self) -> float:
        """Share of the findings that are right; 1 if there are none."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0


def audited(store: ArrayStore) -> list[Place]:
    """What an audit finds, remarks left out."""
    return [
        (one.id, tuple({one.layer, one.evidence.get("other_layer", one.layer)}), one.expert)
        for one in audit(store).findings
        if one.severity != "info"
    ]


def compared(sound: ArrayStore, store: ArrayStore) -> list[Place]:
    """The first place to look, if a comparison says that logic differs."""
    judgement = diff(sound, store).judgement
    return [(COMPARED, (judgement.evidence[0].layer,), None)] if judgement.verdict == "logic" else []


def outcome(trial: Trial, strength: float, captures: Sequence[ArrayStore], runs: int = RUNS, seed: int = 0) -> Outcome:
    """Inject a fault into captures in turn, and look for it."""
    fit = [capture for capture in captures if len(capture.tokens) < MOST_TOKENS and trial.fits(capture)]
    is_compared = COMPARED in trial.ids
    found = right = wrong = 0
    for run in range(runs):
        sound = fit[run % len(fit)]
        faulty = trial.inject(sound, strength, np.random.default_rng([seed, run]))
        places = compared(sound, faulty.store) if is_compared else audited(faulty.store)
        hits = [_is_right(place, faulty) for place in places if place[0] in trial.ids]
        found += any(hits)
        right += sum(hits)
        wrong += len(hits) - sum(hits) + sum(place[0] in trial.ids for place in _without(sound, is_compared))
    return Outcome(trial, strength, runs, found, right, wrong)


def _without(sound: ArrayStore, is_compared: bool) -> list[Place]:
    """What is found of a capture without a fault; remembered, for it takes as long as one with it."""
    key = sound.name, is_compared
    if key not in _KNOWN:
        _KNOWN[key] = compared(sound, rounded(sound, 0)) if is_compared else audited(sound)
    return _KNOWN[key]


_KNOWN: dict[tuple[str, bool], list[Place]] = {}


def rounded(store: ArrayStore, seed: int) -> ArrayStore:
    """The same routing, computed by another engine: weights differ by float32's rounding."""
    rng = np.random.default_rng(seed)
    for place, layer in enumerate(store.layers):
        noise = rng.choice(np.array([-1, 0, 1]) * 2.0**-23, layer.weights.shape)
        store = store.with_layer(place, weights=(layer.weights * (1 + noise)).astype(np.float32))
    return store


def outcomes(captures: Sequence[ArrayStore], runs: int = RUNS) -> Iterator[Outcome]:
    """Every trial at every strength."""
    for trial in TRIALS:
        for strength in trial.strengths:
            yield outcome(trial, strength, captures, runs)


def _is_right(place: Place, faulty: Faulty) -> bool:
    _, layers, expert = place
    return any(layer in faulty.layers for layer in layers) and faulty.expert in (None, expert)


def _softmax_order(store: ArrayStore) -> bool:
    """Whether weights are a softmax, and it is known over what: of all experts, or logits tell."""
    return all(layer.score in ("softmax", "logits") for layer in store.model.layers)


def _is_sample(store: ArrayStore) -> bool:
    return store.name.startswith("tinymoe")


def _padded(store: ArrayStore) -> bool:
    return bool(store.tokens["is_padding"].any())


def _sums_to_one(store: ArrayStore) -> bool:
    return all(bool(np.ptp(layer.weights.sum(1)) < 1e-4) for layer in store.layers)


def _scores_tell(store: ArrayStore) -> bool:
    """Whether a layer's ids or weights follow from its own scores: logits were recorded, or weights are softmax itself."""
    return any(layer.logits is not None for layer in store.layers) or not store.model.config.get("norm_topk_prob", True)


LATE = "share of the tokens, the last ones"
SCORES = frozenset({"inconsistent-routing", "not-the-largest", "not-of-its-logits"})
"""Findings that weights and experts don't fit the scores recorded with them."""
TRIALS = (
    Trial(
        "dead expert", "share of its slots that go to others", (0.9, 0.99, 1.0), (1.0,), faults.dead,
        frozenset({"dead-expert"}),
    ),
    Trial(
        "collapse", "share of the tokens whose first choice is one expert", (0.2, 0.5, 0.95, 1.0), (0.5, 0.95, 1.0),
        faults.collapse, frozenset({"collapse", "concentrated-load", "hot-expert"}),
    ),
    Trial(
        "drift, texts mixed", "share of the slots of half of the experts, second half of the run", (0.3, 0.6, 0.9, 1.0),
        (1.0,), faults.drift, frozenset({"load-drift"}), lambda store: not _is_sample(store),
    ),
    Trial(
        "drift, texts one language after another", "as above", (0.6, 1.0), (), faults.drift, frozenset({"load-drift"}),
        _is_sample,
    ),
    Trial("NaN", "tokens", (1, 3, 10), (1, 3, 10), faults.nan, frozenset({"non-finite"})),
    Trial(
        "stuck router", LATE, (0.01, 0.05, 0.2, 1.0), (0.2, 1.0), faults.stuck, frozenset({"stuck-router"}),
    ),
    Trial(
        "one choice", LATE, (0.01, 0.05, 0.2, 1.0), (0.2, 1.0), faults.one_choice, frozenset({"one-choice", "collapse"}),
    ),
    Trial(
        "wrong softmax order", LATE, (0.01, 0.1, 0.5, 1.0), (0.1, 0.5, 1.0), mistakes.wrong_order,
        frozenset({"weight-sum", "inconsistent-routing"}), _softmax_order,
    ),
    Trial(
        "padding counted", "share of the padded rows", (0.01, 0.1, 1.0), (0.01, 0.1, 1.0), mistakes.padding_counted,
        frozenset({"counts-differ", "padding-counted"}), _padded,
    ),
    Trial(
        "swapped ids and weights", LATE, (0.01, 0.1, 0.5, 1.0), (0.1,), mistakes.swapped_routes,
        SCORES, _scores_tell,
    ),
    Trial(
        "swapped layers", LATE, (0.01, 0.1, 0.5, 1.0), (0.1, 0.5, 1.0), mistakes.swapped_layers, frozenset({COMPARED}),
    ),
    Trial(
        "layer over layer 0", LATE, (0.01, 0.1, 0.5, 1.0), (0.1, 0.5, 1.0), mistakes.layer_overwritten,
        SCORES | {"copied-layer"},
    ),
    Trial(
        "draft over layer 0", LATE, (0.01, 0.1, 0.5, 1.0), (0.1, 0.5, 1.0), mistakes.draft_over_first,
        SCORES, _scores_tell,
    ),
    Trial(
        "draft over layer 0, weights sum to one and no logits recorded", LATE, (0.1, 1.0), (),
        mistakes.draft_without_logits, SCORES, _sums_to_one,
    ),
    Trial(
        "draft over layer 0, compared", LATE, (0.01, 0.1, 0.5, 1.0), (0.1, 0.5, 1.0), mistakes.draft_over_first,
        frozenset({COMPARED}),
    ),
)  # fmt: skip
"""Every fault of the table."""
