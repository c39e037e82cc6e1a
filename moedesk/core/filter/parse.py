"""From text to a Filter."""

import re
from difflib import get_close_matches
from math import isfinite

from moedesk.core.errors import FilterError
from moedesk.core.filter.keys import FLAGS, KEYS, PHASES, Key
from moedesk.core.filter.language import Filter
from moedesk.core.filter.term import OPERATOR, Interval, Numbers, Pattern, Term, Words, token_pattern

_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"\S*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_REGEX = re.compile(r"/((?:[^/\\]|\\.)*)/", re.DOTALL)
_INTEGER = r"\d{1,18}"
_NUMBER = r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
_PATH = re.compile(r"[A-Za-z_][\w.\-]*")
_ESCAPED = {'"': '"', "\\": "\\", "n": "\n", "t": "\t", "r": "\r"}


def parse(text: str) -> Filter:
    """Return the filter that ``text`` stands for; see ``moedesk.core.filter`` for the language.

    Raises
    ------
    FilterError
        If it does not parse; ``start`` and ``end`` are the offending characters.
    """
    terms = []
    place = _end(_SPACE, text, 0)
    while place < len(text):
        term = _term(text, place)
        terms.append(term)
        place = _end(_SPACE, text, term.end)
    return Filter(text, tuple(terms))


def _end(pattern: re.Pattern[str], text: str, place: int) -> int:
    found = pattern.match(text, place)
    return found.end() if found else place


def _term(text: str, start: int) -> Term:
    negated = text[start] == "-"
    place = start + negated
    if negated and _end(_WORD, text, place) == place:
        raise FilterError(
            'nothing follows "-"; write what to leave out, or "-" in quotes to find that text', start, place
        )
    found = OPERATOR.match(text, place)
    if found is None:
        value, end = _text_value(text, place, bare=True)
        return Term("token", Pattern(value, "contains"), negated, start, end)
    key = _key(found[1], place)
    if key.takes == "text":
        if found[2] not in (":", "="):
            raise FilterError(
                f"{key.name} takes a text, as in {key.name}:def; {found[2]} is for numbers", place, found.end()
            )
        pattern, end = _pattern(text, found.end())
        return Term(key.name, pattern, negated, start, end)
    if key.takes == "name":
        names, end = _label_names(text, found.end(), found[2])
        return Term(key.name, names, negated, start, end)
    end = _end(_WORD, text, found.end())
    if end == found.end():
        raise FilterError(f"{found[0]} needs a value, {key.hint}", place, end)
    return Term(key.name, _value(key, found[2], text[found.end() : end], found.end()), negated, start, end)


def _key(name: str, place: int) -> Key:
    key = KEYS.get(name.lower())
    if key is None:
        close = get_close_matches(name.lower(), KEYS, n=1)
        guess = f"did you mean {close[0]}?" if close else f"there are {', '.join(KEYS)}."
        message = f'no key "{name}"; {guess} To find this as text, put it in quotes'
        raise FilterError(message, place, place + len(name))
    return key


def _label_names(text: str, place: int, operator: str) -> tuple[Words, int]:
    """Return the names of ``label:a,b`` or ``label:"a b"``."""
    if operator not in (":", "="):
        raise FilterError("label takes a name after a colon, as in label:python", place - len(operator), place)
    end = _end(_WORD, text, place)
    if end == place:
        raise FilterError("label: needs a name, as in label:python", place - len("label:"), place)
    if text[place] != '"':
        return Words(tuple(part for part, _ in _parts(text[place:end], place))), end
    name, end = _text_value(text, place, bare=True)
    return Words((name,)), end


def _pattern(text: str, place: int) -> tuple[Pattern, int]:
    if text[place : place + 1] != "/":
        value, end = _text_value(text, place)
        return token_pattern(value), end
    found = _REGEX.match(text, place)
    if found is None:
        raise FilterError(
            'no closing /; close the regular expression, or write token:"/" to find a slash', place, len(text)
        )
    _end_of_term(text, found.end())
    regex = re.sub(r"\\.", lambda pair: "/" if pair[0] == r"\/" else pair[0], found[1], flags=re.DOTALL)
    try:
        re.compile(regex)
    except (re.error, RecursionError, OverflowError) as error:
        raise FilterError(f"the regular expression is wrong: {error}", place, found.end()) from None
    if not regex:
        raise FilterError(
            'the regular expression is empty; write one, or token:"//" to find two slashes', place, found.end()
        )
    return Pattern(regex, "regex"), found.end()


def _text_value(text: str, place: int, bare: bool = False) -> tuple[str, int]:
    if text[place : place + 1] != '"':
        end = _end(_WORD, text, place)
        if end == place:
            raise FilterError('token: needs a text: token:def, token:" def" (exactly) or token:/regex/', place - 6, end)
        return text[place:end], end
    found = _QUOTED.match(text, place)
    if found is None:
        raise FilterError('no closing quote; add " at the end of the text', place, len(text))
    _end_of_term(text, found.end())
    value = re.sub(r"\\(.)", lambda pair: _unescape(pair, place + 1), found[1], flags=re.DOTALL)
    if bare and not value:
        raise FilterError("empty quotes find nothing in particular; write a text between them", place, found.end())
    return value, found.end()


def _unescape(pair: re.Match[str], offset: int) -> str:
    if pair[1] not in _ESCAPED:
        message = rf"no escape {pair[0]}; there are \" \\ \n \t \r. Write \\ for a backslash"
        raise FilterError(message, offset + pair.start(), offset + pair.end())
    return _ESCAPED[pair[1]]


def _end_of_term(text: str, place: int) -> None:
    end = _end(_WORD, text, place)
    if end > place:
        raise FilterError(f'"{text[place:end]}" follows without a blank; put a blank between terms', place, end)


def _value(key: Key, operator: str, value: str, place: int) -> Numbers | Words:
    if key.takes in ("phase", "flag"):
        if operator not in (":", "="):
            raise FilterError(
                f"{key.name} takes a name after a colon; it asks {key.hint}", place - len(operator), place
            )
        return _names(PHASES if key.takes == "phase" else FLAGS, key, value, place)
    if operator in (":", "="):
        if key.name == "layer" and _PATH.match(value):
            return Words(tuple(_path(part, start) for part, start in _parts(value, place)))
        return Numbers(tuple(_interval(key, part, start) for part, start in _parts(value, place)))
    number = _number(key, value, place)
    is_open = operator in (">", "<")
    if operator.startswith(">"):
        return Numbers((Interval(low=number, low_open=is_open),))
    return Numbers((Interval(high=number, high_open=is_open),))


def _parts(value: str, place: int) -> list[tuple[str, int]]:
    parts = []
    first, end = place, place + len(value)
    for part in value.split(","):
        if not part:
            message = "something is missing beside the comma; write a list as in 1,5"
            raise FilterError(message, max(place - 1, first), min(place + 1, end))
        parts.append((part, place))
        place += len(part) + 1
    return parts


def _names(possible: tuple[str, ...], key: Key, value: str, place: int) -> Words:
    names = []
    for part, start in _parts(value, place):
        if part.lower() not in possible:
            message = f'no {"phase" if key.takes == "phase" else "flag"} "{part}"; there are {", ".join(possible)}'
            raise FilterError(message, start, start + len(part))
        names.append(part.lower())
    return Words(tuple(names))


def _path(part: str, place: int) -> str:
    if not _PATH.fullmatch(part):
        message = f'"{part}" is no module path; write layers as numbers or as paths such as model.layers.3'
        raise FilterError(message, place, place + len(part))
    return part


def _interval(key: Key, part: str, place: int) -> Interval:
    low, dots, high = part.partition("..")
    if not dots:
        number = _number(key, part, place)
        return Interval(number, number)
    if not low and not high:
        raise FilterError(
            f"the range has no ends; write {key.name}:3..7, {key.name}:3.. or {key.name}:..7", place, place + 2
        )
    first = _number(key, low, place) if low else None
    last = _number(key, high, place + len(low) + 2) if high else None
    if first is not None and last is not None and first > last:
        raise FilterError(f"the range {part} is empty; write {high}..{low}", place, place + len(part))
    return Interval(first, last)


def _number(key: Key, text: str, place: int) -> float:
    whole = key.takes == "integer"
    if re.fullmatch(_INTEGER if whole else _NUMBER, text, re.ASCII):
        number = int(text) if whole else float(text)
        if isfinite(number):
            return number
    kind = "a whole number" if whole else "a number"
    raise FilterError(f'"{text}" is not {kind}; {key.name} takes {key.hint}', place, place + max(len(text), 1))
