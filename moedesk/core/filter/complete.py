"""What could stand at the cursor of a filter."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from moedesk.core.filter.keys import FLAG_HINTS, KEYS, PHASES, Key
from moedesk.core.filter.term import OPERATOR, Term, Words, token_pattern
from moedesk.core.model import ModelInfo

LIMIT = 50
"""At most this many completions are offered."""


@dataclass(frozen=True)
class Completion:
    """A text to put in place of the characters ``start`` to ``end`` of a filter, and what it means.

    Attributes
    ----------
    text : str
    start, end : int
        Half-open range of characters it replaces.
    hint : str
    """

    text: str
    start: int
    end: int
    hint: str


def complete(
    text: str, cursor: int, model: ModelInfo, token_texts: Iterable[str] = (), labels: Iterable[str] = ()
) -> list[Completion]:
    """Return what could stand at the cursor, the likeliest first; an empty list inside quotes of a bare text.

    Parameters
    ----------
    text : str
        The filter as typed so far; it need not parse.
    cursor : int
        Place in ``text``.
    model : ModelInfo
        Its layers and experts are offered.
    token_texts : iterable of str
        Texts to offer after ``token:``, the most frequent first.
    labels : iterable of str
        Names to offer after ``label:``.
    """
    start = _term_start(text, cursor)
    end = cursor
    while end < len(text) and not text[end].isspace():
        end += 1
    start += text[start:cursor].startswith("-")
    typed = text[start:cursor]
    found = OPERATOR.match(typed)
    if found is None:
        return _first(_keys(typed, start, end))
    key = KEYS.get(found[1].lower())
    if key is None:
        return []
    value_start = start + found.end()
    if key.takes == "text":
        return _first(_tokens(token_texts, text[value_start:cursor], value_start, end))
    if key.takes == "name":
        return _first(_labels(labels, text[value_start:cursor], value_start, end))
    part_start = value_start + _last_part(text[value_start:cursor])
    stop = re.search(r"[,.]", text[cursor:end]) if key.takes != "number" else None
    part_end = cursor + stop.start() if stop and key.name != "layer" else end
    return _first(_values(key, text[part_start:cursor], part_start, part_end, model))


def _first(completions: Iterator[Completion]) -> list[Completion]:
    return [completion for completion, _ in zip(completions, range(LIMIT), strict=False)]


def _term_start(text: str, cursor: int) -> int:
    """Return where the term before the cursor starts; blanks inside quotes don't end a term."""
    start, quoted, place = 0, False, 0
    while place < cursor:
        character = text[place]
        if quoted and character == "\\":
            place += 1
        elif character == '"' and (
            quoted or text[start:place].endswith((":", "=")) or place == start or text[start:place] == "-"
        ):
            quoted = not quoted
        elif character.isspace() and not quoted:
            start = place + 1
        place += 1
    return start


def _keys(typed: str, start: int, end: int) -> Iterator[Completion]:
    for key in KEYS.values():
        if key.name.startswith(typed.lower()):
            yield Completion(key.name + (">" if key.takes == "number" else ":"), start, end, key.hint)


def _tokens(token_texts: Iterable[str], typed: str, start: int, end: int) -> Iterator[Completion]:
    wanted = typed.removeprefix('"')
    wanted = wanted if typed.startswith('"') else wanted.strip()
    for text in dict.fromkeys(token_texts):
        if (text if typed.startswith('"') else text.strip()).startswith(wanted):
            written = Term("token", token_pattern(text)).to_text().removeprefix("token:")
            yield Completion(
                written,
                start,
                end,
                "exactly this text" if text != text.strip() else "this text, blanks around it or not",
            )


def _labels(labels: Iterable[str], typed: str, start: int, end: int) -> Iterator[Completion]:
    before, comma, last = typed.rpartition(",") if not typed.startswith('"') else ("", "", typed[1:])
    for name in labels:
        written = Term("label", Words((name,))).to_text().removeprefix("label:")
        if name.startswith(last) and not (comma and written != name):
            yield Completion(written, start + len(before) + len(comma), end, "passes and tokens with this label")


def _last_part(value: str) -> int:
    """Return where the last number or name of a list or range starts."""
    found = re.search(r"(?:.*(?:,|\.\.))?", value, re.DOTALL)
    return found.end() if found else 0


def _values(key: Key, typed: str, start: int, end: int, model: ModelInfo) -> Iterator[Completion]:
    if key.name == "layer":
        for layer in model.layers:
            if str(layer.place).startswith(typed):
                yield Completion(str(layer.place), start, end, layer.path)
        for layer in model.layers:
            if typed and layer.path.startswith(typed):
                yield Completion(layer.path, start, end, f"layer {layer.place}")
    elif key.name == "expert":
        for expert in range(max((layer.experts for layer in model.layers), default=0)):
            if str(expert).startswith(typed):
                yield Completion(str(expert), start, end, f"expert {expert}")
    elif key.takes == "phase":
        for phase in PHASES:
            if phase.startswith(typed.lower()):
                yield Completion(phase, start, end, f"passes that {_PHASE_HINTS[phase]}")
    elif key.takes == "flag":
        for flag, hint in FLAG_HINTS.items():
            if flag.startswith(typed.lower()):
                yield Completion(flag, start, end, hint)


_PHASE_HINTS = {
    "prefill": "read a prompt",
    "decode": "make one token each",
    "train": "belong to a training step",
    "eval": "only evaluate",
}
