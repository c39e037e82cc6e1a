"""Which events of a layer a filter keeps, over whole arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from moedesk.core.columns import Phase, RouteFlag
from moedesk.core.filter.keys import PASS_FLAGS, ROUTE_FLAGS
from moedesk.core.filter.language import Filter, is_about_pass, is_about_token
from moedesk.core.filter.term import Numbers, Pattern, Term, Words
from moedesk.core.model import LayerInfo

Mask = npt.NDArray[np.bool_]
Texts = Callable[[npt.NDArray], Sequence[str]]
"""Gives a text for each token id, as ``Store.token_text`` does."""
Labelled = Callable[[str], Mask]
"""Gives for a name (T,) which of the token rows are labelled so."""


@dataclass(frozen=True)
class LayerRows:
    """Token rows and what one layer did with them; what ``Filter.columns`` does not ask for may be None.

    Attributes
    ----------
    layer : LayerInfo
    flags : (T,) uint8
    experts : (T, k) signed int or None
    weights : (T, k) float32 or None
    entropy, margin : (T,) float32 or None
    loads : (T, k) float32 or None
        Slots that a slot's expert received in the pass, as a multiple of its fair share of all slots, 1/E; padding left out.
    """

    layer: LayerInfo
    flags: npt.NDArray[np.uint8]
    experts: npt.NDArray[np.signedinteger] | None = None
    weights: npt.NDArray[np.float32] | None = None
    entropy: npt.NDArray[np.float32] | None = None
    margin: npt.NDArray[np.float32] | None = None
    loads: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Match:
    """What a filter keeps of a layer's rows.

    Attributes
    ----------
    rows : (T,) bool
        The events that match.
    slots : (T, k) bool or None
        The slots to point out: those that satisfy the slot terms, else all that have an expert. None if ``experts`` was None.
    """

    rows: Mask
    slots: Mask | None


def match(
    filter: Filter,
    rows: LayerRows,
    tokens: np.ndarray,
    passes: np.ndarray,
    texts: Texts,
    labelled: Labelled | None = None,
) -> Match:
    """Evaluate a filter over one layer's token rows.

    Parameters
    ----------
    filter : Filter
    rows : LayerRows
    tokens : (T,) structured, dtype ``columns.TOKEN``
    passes : (P,) structured, dtype ``columns.PASS``
        Consecutive passes that include those of ``tokens``.
    texts : callable
        ``Store.token_text``.
    labelled : callable or None
        Which of ``tokens`` have a label; for a filter that names some.
    """
    return match_routes(filter, rows, match_tokens(filter, tokens, passes, texts, labelled), tokens, passes)


def match_passes(filter: Filter, passes: np.ndarray) -> Mask:
    """Return (P,) which passes satisfy every term that is about the pass alone; other terms are taken to hold."""
    kept = np.ones(len(passes), bool)
    for term in filter.terms:
        if is_about_pass(term):
            kept &= _passes_hold(term, passes) != term.negated
    return kept


def match_tokens(
    filter: Filter, tokens: np.ndarray, passes: np.ndarray, texts: Texts, labelled: Labelled | None = None
) -> Mask:
    """Return (T,) which token rows satisfy every term that needs no layer; other terms are taken to hold.

    Padding is left out unless the filter is empty or names ``is:padding``. Parameters as in ``match``.
    """
    kept = np.ones(len(tokens), bool)
    if not filter:
        return kept
    if not filter.names_flag("padding"):
        kept &= ~tokens["is_padding"]
    for term in filter.terms:
        if is_about_pass(term):
            kept &= (_passes_hold(term, passes) != term.negated)[_pass_rows(tokens, passes)]
        elif term.key == "token":
            kept &= _texts_hold(term, tokens["token_id"], texts) != term.negated
        elif term.key == "label":
            kept &= _labels_hold(term, len(tokens), labelled) != term.negated
        elif term.key == "is" and is_about_token(term):
            kept &= _flags_hold(term, None, tokens, passes) != term.negated
        elif is_about_token(term):
            kept &= _numbers_hold(term, tokens["token_id" if term.key == "id" else term.key]) != term.negated
    return kept


def match_routes(filter: Filter, rows: LayerRows, kept: Mask, tokens: np.ndarray, passes: np.ndarray) -> Match:
    """Narrow ``kept``, what ``match_tokens`` returned, by the terms that need a layer. Parameters as in ``match``."""
    slots = None if rows.experts is None else rows.experts >= 0
    if not filter:
        return Match(kept, slots)
    if not filter.wants_layer(rows.layer):
        return Match(np.zeros_like(kept), None if slots is None else np.zeros_like(slots))
    if not filter.names_flag("absent"):
        kept = kept & ((rows.flags & RouteFlag.ABSENT) == 0)
    for term in filter.terms:
        if term.key in ("entropy", "margin"):
            kept = kept & (_numbers_hold(term, _column(rows, term.key)) != term.negated)
        elif term.key == "is" and not is_about_token(term):
            kept = kept & (_flags_hold(term, rows.flags, tokens, passes) != term.negated)
    return _match_slots(filter, rows, kept, slots)


def match_unjudged(filter: Filter, rows: LayerRows, kept: Mask, tokens: np.ndarray, passes: np.ndarray) -> Mask:
    """Return (T,) which of ``kept`` the filter leaves out only because an entropy or a margin that it asks for is not known.

    They satisfy all other terms, and those of these numbers that are known. Parameters as in ``match_routes``.
    """
    asked = [term for term in filter.terms if term.key in ("entropy", "margin") and not term.negated]
    unknown = [np.isnan(_column(rows, term.key)) for term in asked]
    kept = kept & ((rows.flags & RouteFlag.ABSENT) == 0) & np.logical_or.reduce(unknown, axis=0, initial=False)
    if not kept.any():
        return kept
    for term, lacks in zip(asked, unknown, strict=True):
        kept = kept & (lacks | _numbers_hold(term, _column(rows, term.key)))
    others = replace(filter, terms=tuple(term for term in filter.terms if term not in asked))
    return match_routes(others, rows, kept, tokens, passes).rows


def _match_slots(filter: Filter, rows: LayerRows, kept: Mask, slots: Mask | None) -> Match:
    terms = [term for term in filter.terms if term.key in _SLOT_COLUMNS]
    if not terms:
        return Match(kept, None if slots is None else slots & kept[:, None])
    filled = _column(rows, "experts") >= 0
    wanted = filled
    choices = []
    for term in terms:
        held = filled & _numbers_hold(term, _column(rows, _SLOT_COLUMNS[term.key]))
        if term.negated:
            kept = kept & ~held.any(axis=1)
        elif term.key == "expert":
            choices.append(held)
        else:
            wanted = wanted & held
    positive = any(not term.negated for term in terms)
    if not choices:
        kept = kept & wanted.any(axis=1) if positive else kept
        return Match(kept, wanted & kept[:, None])
    shown = np.zeros_like(filled)
    for held in choices:
        held &= wanted
        kept = kept & held.any(axis=1)
        shown |= held
    return Match(kept, shown & kept[:, None])


_SLOT_COLUMNS = {"expert": "experts", "weight": "weights", "load": "loads"}


def _column(rows: LayerRows, name: str) -> npt.NDArray:
    column = getattr(rows, name)
    if column is None:
        raise ValueError(f"the filter needs {name}; Filter.columns says what to read")
    return column


def _pass_rows(tokens: np.ndarray, passes: np.ndarray) -> npt.NDArray[np.integer]:
    return tokens["pass"] - (passes["id"][0] if len(passes) else 0)


def _passes_hold(term: Term, passes: np.ndarray) -> Mask:
    if term.key == "pass":
        return _numbers_hold(term, passes["id"])
    assert isinstance(term.value, Words)
    if term.key == "phase":
        return np.isin(passes["phase"], [Phase[name.upper()] for name in term.value.names])
    bits = sum(PASS_FLAGS[name] for name in set(term.value.names))
    return (passes["flags"] & bits) != 0


def _flags_hold(term: Term, flags: npt.NDArray[np.uint8] | None, tokens: np.ndarray, passes: np.ndarray) -> Mask:
    assert isinstance(term.value, Words)
    held = np.zeros(len(tokens), bool)
    for name in term.value.names:
        if name == "padding":
            held |= tokens["is_padding"]
        elif name in PASS_FLAGS:
            held |= ((passes["flags"] & PASS_FLAGS[name]) != 0)[_pass_rows(tokens, passes)]
        else:
            assert flags is not None
            held |= (flags & ROUTE_FLAGS[name]) != 0
    return held


def _labels_hold(term: Term, rows: int, labelled: Labelled | None) -> Mask:
    if labelled is None:
        raise ValueError("the filter names labels; say which rows have them")
    assert isinstance(term.value, Words)
    held = np.zeros(rows, bool)
    for name in term.value.names:
        held |= labelled(name)
    return held


def _numbers_hold(term: Term, values: npt.NDArray) -> Mask:
    assert isinstance(term.value, Numbers)
    held = term.value.holds(values)
    if term.key in ("position", "sequence", "id"):
        held &= values >= 0  # -1 is unknown
    return held


def _texts_hold(term: Term, ids: npt.NDArray, texts: Texts) -> Mask:
    assert isinstance(term.value, Pattern)
    test = term.value.test()
    unique, place = np.unique(ids, return_inverse=True)
    held = np.fromiter((test(text) for text in texts(unique)), bool, len(unique))
    held &= unique >= 0
    return held[place]
