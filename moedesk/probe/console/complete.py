"""Completion of ``$0.…`` and ``sel[0].…``: attributes of what was clicked, of its module, and so on."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext, SimpleMatcherResult

_CHAIN = re.compile(r"(?:\$|\bsel\[)([0-4])\]?((?:\.\w+)*)\.(\w*)$")


def selection_matcher(selections: Sequence[Any]) -> Callable[["CompletionContext"], "SimpleMatcherResult"]:
    """Return a matcher for ``IPCompleter.custom_matchers``; it reads attributes, as completion in IPython does anyway."""
    from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

    @context_matcher()
    def complete_selection(context: CompletionContext) -> SimpleMatcherResult:
        found = _CHAIN.search(context.text_until_cursor)
        if found is None:
            return {"completions": []}
        names = attributes(selections, int(found[1]), found[2].split(".")[1:])
        wanted = [
            name for name in names if name.startswith(found[3]) and name.startswith("_") == found[3].startswith("_")
        ]
        return {
            "completions": [SimpleCompletion(text=name, type="instance") for name in wanted],
            "matched_fragment": found[3],
            "suppress": True,  # what others make of "0.": keywords
        }

    return complete_selection


def attributes(selections: Sequence[Any], place: int, chain: Sequence[str]) -> list[str]:
    """Return the names of the attributes at the end of a chain; none where something on the way is missing."""
    try:
        value = selections[place]
        for name in chain:
            value = getattr(value, name)
    except Exception:  # a property may raise anything; completion says nothing
        return []
    return dir(value)
