"""A breakpoint on routing: which tokens at which layers the model stops at, in the filter language."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from string import Formatter
from typing import Any, Self

from moedesk.core.errors import FilterError, MoedeskError
from moedesk.core.filter import Filter, parse
from moedesk.core.filter.term import Words
from moedesk.core.model import ModelInfo

FIELDS: Mapping[str, object] = {
    "token": "def",
    "layer": 0,
    "expert": 0,
    "weight": 0.5,
    "margin": 0.1,
    "entropy": 0.1,
    "phase": "decode",
    "sequence": 0,
    "position": 0,
    "column": 0,
    "id": 0,
    "row": 0,
    "hits": 1,
    "ids": [0],
    "weights": [0.5],
}
"""What a logpoint's text may name in braces, with a value of its kind."""

_CANNOT = {
    "absent": "no hook runs where a layer does not see a token",
    "failed": "whether a pass fails is known when it is over",
    "countsonly": "what was kept of a pass is known when it is over",
    "spared": "a breakpoint works entropy and margin out itself, whether a capture has them is known when the pass is over",
    "rewound": "rejected drafts are known when the pass is over",
}


@dataclass(frozen=True)
class Breakpoint:
    """Where the model stops, or prints a line.

    Attributes
    ----------
    text : str
        A filter: it stops at the events, tokens at layers, that the filter would show. See ``moedesk.core.filter``.
    log : str
        A text with ``{fields}``, see ``FIELDS``: printed in place of stopping. Empty to stop.
    condition : str
        A Python expression that must be true too, evaluated in the console's namespace; empty for none.
    ignore : int
        How many matches, those for which the condition holds, are passed over first.
    """

    text: str
    log: str = ""
    condition: str = ""
    ignore: int = 0

    @property
    def filter(self) -> Filter:
        """The filter that ``text`` stands for."""
        return parse(self.text)

    @property
    def title(self) -> str:
        """One line, e.g. ``layer:12 expert:37 · if margin < 0.01 · after 3``."""
        parts = (
            self.text,
            f"if {self.condition}" if self.condition else "",
            f"log {self.log!r}" if self.log else "",
            f"after {self.ignore}" if self.ignore else "",
        )
        return " · ".join(part for part in parts if part)

    def check(self, model: ModelInfo | None = None) -> None:
        """Check that it can break, and in ``model`` (if its layers are known yet).

        Raises
        ------
        MoedeskError
            In one line; a ``FilterError`` where it is the filter.
        """
        chosen = self.filter
        if not chosen:
            raise MoedeskError("an empty filter breaks at nothing in particular; write where, as in layer:12 expert:37")
        for term in chosen.terms:
            names = term.value.names if term.key == "is" and isinstance(term.value, Words) else ()
            for name in names:
                if name in _CANNOT:
                    raise FilterError(f"is:{name} can't break: {_CANNOT[name]}", term.start, term.end)
        if model is not None:
            chosen.check(model)
        _check_log(self.log)
        _check_condition(self.condition)
        if self.ignore < 0:
            raise MoedeskError(f"ignore={self.ignore} makes no sense; it is how many matches are passed over first")

    def as_call(self) -> str:
        """Return the call that makes it, e.g. ``moe.break_on("layer:12", ignore=3)``."""
        more = [f"{name}={value!r}" for name, value in list(asdict(self).items())[1:] if value]
        return f"moe.break_on({', '.join([repr(self.text), *more])})"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the breakpoint that ``to_json`` described; what is left out has its default.

        Raises
        ------
        MoedeskError
            If something is of the wrong kind, or not of a breakpoint.
        """
        kinds = {"text": str, "log": str, "condition": str, "ignore": int}
        for name, given in value.items():
            if name not in kinds:
                raise MoedeskError(f"a breakpoint has no {name!r}; it has {', '.join(kinds)}")
            if not isinstance(given, kinds[name]) or isinstance(given, bool):
                raise MoedeskError(f"{name}={given!r} of a breakpoint is no {kinds[name].__name__}")
        if "text" not in value:
            raise MoedeskError("a breakpoint needs a text, a filter such as layer:12 expert:37")
        return cls(**value)


def log_line(log: str, fields: Mapping[str, object]) -> str:
    """Return a logpoint's text with its fields filled in.

    Raises
    ------
    MoedeskError
        If a field's format is not one of its value.
    """
    _names(log)
    try:
        return log.format(**fields)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise MoedeskError(f"the log text {log!r} can't be filled in: {error}") from None


def _check_log(log: str) -> None:
    for name in _names(log):
        if name not in FIELDS:
            raise MoedeskError(f"no field {{{name}}} in a log text; there are {', '.join(FIELDS)}")
    if log:
        log_line(log, FIELDS)


def _names(log: str) -> list[str]:
    """The fields of a text; attributes and indices are no names of fields, so nothing is reached through them."""
    try:
        parts = list(Formatter().parse(log))
        return [name for part in parts for name in (part[1], *_names(part[2] or "")) if name is not None]
    except ValueError as error:
        raise MoedeskError(f"the log text {log!r} is wrong: {error}; write {{{{ for a brace") from None


def _check_condition(condition: str) -> None:
    if not condition:
        return
    try:
        compile(condition, "<condition>", "eval")
    except (SyntaxError, ValueError) as error:
        why = error.msg if isinstance(error, SyntaxError) else error
        raise MoedeskError(
            f"the condition {condition!r} is no Python expression ({why}); write one such as margin < 0.01"
        ) from None
