"""Filters built term by term, as context menus do."""

from dataclasses import replace

from moedesk.core.filter.language import Filter
from moedesk.core.filter.parse import parse
from moedesk.core.filter.term import Term


def add_term(filter: Filter, term: Term | str) -> Filter:
    """Return ``filter`` with ``term`` too; its opposite, if it is there, goes.

    Raises
    ------
    FilterError
        If ``term`` is a text that does not parse as one term.
    """
    term = _one(term)
    if term in filter.terms:
        return filter
    without = remove_term(filter, replace(term, negated=not term.negated))
    return parse(f"{without.text.rstrip()} {term.to_text()}".lstrip())


def remove_term(filter: Filter, term: Term | str) -> Filter:
    """Return ``filter`` without ``term``; the rest of its text stays as typed."""
    term = _one(term)
    if term not in filter.terms:
        return filter
    kept = [filter.text[other.start : other.end] for other in filter.terms if other != term]
    return parse(" ".join(kept))


def _one(term: Term | str) -> Term:
    if isinstance(term, Term):
        return term
    (parsed,) = parse(term).terms
    return parsed
