"""The filter language of Network: ``layer:12 expert:37 token:"def" phase:decode entropy>1.5 -is:padding``.

A filter is a list of terms that must all hold; a leading ``-`` negates a term. It is evaluated for every *event*, that is for
every token row at every layer:

* ``layer:3`` ``layer:3..7`` ``layer:1,5`` ``layer:model.layers.3`` (a path, or the path of something above it)
* ``pass:10..20`` ``phase:decode`` ``is:failed`` ``is:countsonly`` ``is:spared`` ask about the pass
* ``token:def`` (the text without surrounding blanks) ``token:" def"`` (a quoted text with blanks around it: exactly that)
  ``token:/^d.f$/`` (a regular expression, found anywhere) ``id:123`` ``sequence:3`` ``position<10`` ``is:padding`` ask about the
  token; ``label:python`` ``label:c,html`` ``label:"two words"`` about the label of the token or its pass; a bare ``word`` or
  ``"two words"`` is looked for inside the token's text, upper and lower case alike
* ``entropy>1.5`` ``margin<0.01`` ``is:dropped`` ``is:overridden`` ``is:absent`` ``is:nonfinite`` ask about the event
* ``expert:37`` ``weight>=0.3`` ``load>2`` ask about its slots: for each ``expert`` term there must be a slot that has such an
  expert *and* satisfies all ``weight`` and ``load`` terms (``load>2``: its expert got more than twice its fair share of the pass,
  1/E of all slots); so ``expert:37 weight>0.5`` is one slot, ``expert:3 expert:7`` two. Negated, no slot may
  satisfy it.

Every number takes ``:`` with numbers, ranges (both ends included; ``10..`` and ``..10`` are open) and lists, or one of
``> >= < <= =``. A list holds if any of it holds. What is unknown (NaN, or -1) satisfies no number; negation is the opposite,
so ``-entropy>1.5`` keeps events of unknown entropy, and ``match_unjudged`` says which ones ``entropy>1.5`` could not judge. A
dropped slot has neither expert nor weight.

Padding, and tokens that a layer did not see, are no events: they match only a filter that names ``is:padding`` or ``is:absent``,
so that matches add up to the counts. The empty filter hides nothing.
"""

from moedesk.core.filter.complete import Completion, complete
from moedesk.core.filter.edit import add_term, remove_term
from moedesk.core.filter.language import NO_FILTER, Filter
from moedesk.core.filter.match import (
    Labelled,
    LayerRows,
    Match,
    match,
    match_passes,
    match_routes,
    match_tokens,
    match_unjudged,
)
from moedesk.core.filter.parse import parse
from moedesk.core.filter.term import Interval, Numbers, Pattern, Term, Words, token_pattern

__all__ = [
    "NO_FILTER",
    "Completion",
    "Filter",
    "Interval",
    "Labelled",
    "LayerRows",
    "Match",
    "Numbers",
    "Pattern",
    "Term",
    "Words",
    "add_term",
    "complete",
    "match",
    "match_passes",
    "match_routes",
    "match_tokens",
    "match_unjudged",
    "parse",
    "remove_term",
    "token_pattern",
]
