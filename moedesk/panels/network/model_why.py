"""What the page "Why" says of a token at a layer: what was ranked, and what a logit is the sum of. No Qt."""

import numpy as np
import numpy.typing as npt

from moedesk.core.attribution import Why
from moedesk.core.signed import signed
from moedesk.ui.bar import Bar
from moedesk.ui.term import Term

Floats = npt.NDArray[np.float64]
NEXT = 3
"""Experts shown after the one that just missed."""
CONVENTION = (
    "Each bar begins where the one before ended: what this part of the residual stream adds to the router's dot product, with "
    "the norms' scale as it was for this token. Below stand what they don't add up to, and the sum."
)


def best(why: Why) -> Floats:
    """Return what orders the experts: the ranked score, or the logits where it is unknown."""
    return why.ranked if np.isfinite(why.ranked).any() else why.logits


def ranking(why: Why) -> list[tuple[int, str]]:
    """Return the chosen experts, the one that just missed, and a few after it, each ``chosen``, ``missed`` or empty."""
    order: list[int] = np.argsort(-np.nan_to_num(best(why), nan=-np.inf), kind="stable").tolist()
    chosen = [int(expert) for expert in why.chosen if expert >= 0]
    shown = [*sorted(chosen, key=order.index), why.runner_up, *order]
    shown = [expert for expert in dict.fromkeys(shown) if expert >= 0][: len(chosen) + 1 + NEXT]
    return [(e, "chosen" if e in chosen else "missed" if e == why.runner_up else "") for e in shown]


def bars(why: Why) -> list[Bar]:
    """Return a bar of the ranked score for each of these experts; its hint says how the score came about."""
    scores = best(why)
    low, high = _scale(scores)
    marks = {"chosen": " ✓", "missed": " next", "": ""}
    result = []
    for expert, state in ranking(why):
        score = float(scores[expert])
        known = bool(np.isfinite(score)) and high > low
        result.append(
            Bar(
                f"{expert}{marks[state]}",
                f"{score:z.4f}" if np.isfinite(score) else "left out",
                (score - low) / (high - low) if known else 0.0,
                hint="\n".join(f"{name}: {value}" for name, value in facts(why, expert)),
                key=expert,
                expert=expert,
            )
        )
    return result


def threshold(why: Why) -> float | None:
    """Return where the line between chosen and not lies, in the bars' 0 to 1; None if it is unknown."""
    scores = best(why)
    chosen = [int(expert) for expert in why.chosen if expert >= 0]
    low, high = _scale(scores)
    if not chosen or why.runner_up < 0 or not high > low:
        return None
    middle = (scores[chosen].min() + scores[why.runner_up]) / 2
    return float((middle - low) / (high - low)) if np.isfinite(middle) else None


def legend(why: Why) -> str:
    """Return what the bars mean, and what is special about the ranking."""
    low, _ = _scale(best(why))
    known = bool(np.isfinite(why.ranked).any())
    parts = ["Score that was ranked" if known else "Logits: what was ranked is unknown"]
    parts.append("bars from 0" if low == 0 else f"bars from the lowest of all experts, {low:.3g}")
    parts.append("dashed: between chosen and not")
    if np.nan_to_num(why.bias).any():
        parts.append("a bias was added for the choice")
    if len(why.kept) and not why.kept.all():
        parts.append(f"{int((~why.kept).sum())} experts left out with their groups")
    return "; ".join(parts) + "."


def _scale(scores: Floats) -> tuple[float, float]:
    finite = scores[np.isfinite(scores)]
    if not len(finite):
        return 0.0, 0.0
    return min(0.0, float(finite.min())), max(0.0, float(finite.max()))


def facts(why: Why, expert: int) -> list[tuple[str, str]]:
    """Return names and values of how an expert's score came about: logit, transform, bias, group, ranked score, gate weight."""
    name = why.score.partition(",")[0].removesuffix("+bias") or "transformed"
    found = [("expert", str(expert))]
    for title, array, shown in (
        ("logit", why.logits, "{:z.4f}".format),
        (f"{name} of it", why.transformed, "{:z.4f}".format),
        ("bias added for the choice", why.bias if np.nan_to_num(why.bias).any() else why.bias[:0], _with_sign),
    ):
        if len(array) and np.isfinite(array[expert]):
            found.append((title, shown(float(array[expert]))))
    if len(why.kept) and not why.kept.all():
        found.append(("its group", "kept" if why.kept[expert] else "left out"))
    if len(why.ranked) and not np.isnan(why.ranked[expert]):
        found.append(("ranked score", f"{why.ranked[expert]:z.4f}"))
    slots = np.flatnonzero(why.chosen == expert)
    found.append(("gate weight", f"{why.weights[slots].sum():.4f}" if len(slots) else "none: not chosen"))
    return found


def headline(why: Why) -> str:
    """Return in one sentence why: who was chosen, who missed, by how much."""
    score = why.score or "a score that is unknown"
    dropped = int((why.chosen < 0).sum())
    chosen = ", ".join(str(expert) for expert in why.chosen.tolist() if expert >= 0) or "no expert"
    parts = [f"L{why.layer} ranks by {score} and sent it to {chosen}"]
    if dropped:
        parts.append(f"{dropped} of its slots dropped")
    if why.runner_up >= 0 and np.isfinite(why.margin):
        parts.append(f"expert {why.runner_up} missed by {why.margin:.4g}, the margin in that score")
    elif why.runner_up >= 0:
        parts.append(f"expert {why.runner_up} came next; by how much is unknown")
    return "; ".join(parts) + "."


def offered(why: Why) -> list[tuple[int, str]]:
    """Return the experts whose logit is split, with a name: the chosen ones, the one that missed, then the others."""
    split, states = set(why.experts.tolist()), dict(ranking(why))
    order = [expert for expert in [*states, *sorted(split)] if expert in split]
    words = {"chosen": "chosen", "missed": "just missed"}
    return [
        (expert, f"expert {expert}" + (f" · {words[state]}" if (state := states.get(expert, "")) else ""))
        for expert in dict.fromkeys(order)
    ]


def default_pair(why: Why) -> tuple[int, int | None]:
    """Return the last expert that was chosen, and the one that just missed: the pair that the margin decided."""
    split = set(why.experts.tolist())
    chosen = [expert for expert, state in ranking(why) if state == "chosen" and expert in split]
    first = chosen[-1] if chosen else next(iter(why.experts.tolist()), -1)
    return first, why.runner_up if why.runner_up in split and why.runner_up != first else None


def terms(why: Why, expert: int, other: int | None = None, by_size: bool = False) -> list[Term]:
    """Return the parts of an expert's dot product, or of its difference to another's, then the remainder and the sum."""
    contributions = _of(why.contributions.T, why, expert, other)
    total, remainder = (float(_of(values, why, expert, other)) for values in (why.explained, why.remainder))
    places = list(range(len(contributions)))
    if by_size:
        places.sort(key=lambda place: -abs(contributions[place]))
    found, at = [], 0.0
    for place in places:
        component, value = why.components[place], float(contributions[place])
        found.append(Term(component.name, _with_sign(value), at, at + value, "term", component.path))
        at += value
    rounding = _rounding(why, expert, other)
    found.append(Term("remainder", f"{remainder:+.1e}", at, at + remainder, "remainder", rounding))
    name = "dot product" if other is None else f"{expert} minus {other}"
    found.append(Term(name, _with_sign(total), 0.0, total, "sum", "What the router computed"))
    return found


def verdict(why: Why, expert: int, other: int | None = None) -> tuple[bool, str]:
    """Return whether the parts add up, and the sentence that says so."""
    remainder = abs(float(_of(why.remainder, why, expert, other)))
    place, second = _place(why, expert), None if other is None else _place(why, other)
    limit = float(why.tolerance[place]) + (float(why.tolerance[second]) if second is not None else 0.0)
    fine = remainder <= limit
    says = "They add up" if fine else "They do NOT add up"
    return fine, f"{says}: remainder {remainder:.1e}; rounding explains {limit:.1e}."


def decided(why: Why, expert: int, other: int) -> str:
    """Return which parts decided between two experts, in one sentence."""
    difference = _of(why.contributions.T, why, expert, other)
    total = float(_of(why.explained, why, expert, other))
    ahead, behind = (expert, other) if total >= 0 else (other, expert)
    for_it = difference if total >= 0 else -difference
    top = [place for place in np.argsort(-for_it, kind="stable")[:2].tolist() if for_it[place] > 0]
    names = " and ".join(f"{why.components[place].name} ({signed(for_it[place], 3)})" for place in top)
    return (
        f"Expert {ahead} is {abs(total):.4g} ahead of {behind} before transform and bias, most by {names}."
        if names
        else ""
    )


def _rounding(why: Why, expert: int, other: int | None) -> str:
    return verdict(why, expert, other)[1]


def _place(why: Why, expert: int) -> int:
    return int(np.flatnonzero(why.experts == expert)[0])


def _of(values: Floats, why: Why, expert: int, other: int | None) -> Floats:
    """Rows of an expert, or the difference to another's."""
    first = values[_place(why, expert)]
    return first if other is None else first - values[_place(why, other)]


def _with_sign(value: float) -> str:
    return signed(value, 4)
