"""Labels that were given after the recording, and which of the recorded ones no longer hold; as JSON and CSV."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moedesk.core.errors import MoedeskError
from moedesk.core.label import Label, encode_name

FORMAT, VERSION = "moedesk-labels", 1
ENDING = ".labels.json"
MOST = 20_000
"""Labels in a file at most."""
_STREAM_BYTES = 16


def label_path(capture: Path) -> Path:
    """Return where the labels given afterwards to a capture lie: ``run.h5.labels.json`` beside ``run.h5``."""
    return capture.with_name(capture.name + ENDING)


@dataclass(frozen=True)
class LabelSet:
    """What is laid over the labels in a capture. False if it changes nothing.

    Attributes
    ----------
    labels : tuple of Label
        Given afterwards.
    without : tuple of str
        Names of recorded labels that were removed.
    """

    labels: tuple[Label, ...] = ()
    without: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.labels or self.without)

    def over(self, recorded: Iterable[Label]) -> tuple[Label, ...]:
        """Return all labels that hold: the recorded ones that were not removed, then those given afterwards."""
        return (*(label for label in recorded if label.name not in self.without), *self.labels)

    def with_labels(self, new: Iterable[Label]) -> "LabelSet":
        """Return it with more labels; one that is there already is not added again."""
        return replace(self, labels=tuple(dict.fromkeys((*self.labels, *new))))

    def without_name(self, name: str, recorded: Iterable[Label]) -> "LabelSet":
        """Return it without a name, whether it was given afterwards or recorded."""
        hidden = self.without
        if name not in hidden and any(label.name == name for label in recorded):
            hidden = (*hidden, name)
        return LabelSet(tuple(label for label in self.labels if label.name != name), hidden)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, as docs/capture-format.md describes them."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "labels": [_as_json(label) for label in self.labels],
            "without": list(self.without),
        }


def _as_json(label: Label) -> dict[str, Any]:
    span = [label.first, label.last]
    if label.stream:
        return {"name": label.name, "tokens": span, "stream": label.stream}
    return {"name": label.name, "passes": span}


def parse_json(text: str, stream: str = "main") -> LabelSet:
    """Return the labels in a JSON text: an object as ``to_json`` makes it, or only the list of its labels.

    Parameters
    ----------
    stream : str
        The stream of token rows that name none.

    Raises
    ------
    MoedeskError
        If it is anything else.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MoedeskError(f"it is no JSON: {error}") from None
    if isinstance(value, list):
        value = {"labels": value}
    if not isinstance(value, dict) or value.get("format", FORMAT) != FORMAT:
        raise MoedeskError('it holds no labels; write {"labels": [{"name": "python", "passes": [0, 10]}]}')
    if value.get("version", VERSION) != VERSION:
        raise MoedeskError(
            f"it has version {value['version']} of the format, this moedesk reads {VERSION}; upgrade moedesk"
        )
    listed, without = value.get("labels", []), value.get("without", [])
    if not isinstance(listed, list) or not isinstance(without, list) or not all(isinstance(n, str) for n in without):
        raise MoedeskError('"labels" is a list of labels, and "without" one of names')
    return LabelSet(_few([_from_json(entry, stream) for entry in listed]), tuple(without))


def _from_json(entry: object, stream: str) -> Label:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise MoedeskError(f'a label has a "name", not {_shortened(entry)}')
    kinds = [kind for kind in ("passes", "tokens") if kind in entry]
    if len(kinds) != 1:
        raise MoedeskError(f'label {entry["name"]!r} names "passes" or "tokens", as in "passes": [0, 10]')
    span = entry[kinds[0]]
    if (
        not isinstance(span, list)
        or len(span) != 2
        or not all(isinstance(n, int) and not isinstance(n, bool) for n in span)
    ):
        raise MoedeskError(f"the {kinds[0]} of label {entry['name']!r} are two numbers, not {_shortened(span)}")
    named = entry.get("stream", stream)
    return checked(Label(entry["name"], span[0], span[1], str(named) if kinds == ["tokens"] else ""))


def parse_csv(text: str) -> LabelSet:
    """Return the labels in a CSV text with the columns ``name,first,last`` and, for token rows, ``stream``.

    Raises
    ------
    MoedeskError
        If it has other columns, or a line doesn't fit.
    """
    rows = csv.DictReader(io.StringIO(text), restkey="more")
    if not {"name", "first", "last"} <= set(rows.fieldnames or ()):
        raise MoedeskError("its first line names the columns: name,first,last and, for token rows, stream")
    labels = []
    try:
        for row in rows:
            try:
                first, last = int(row["first"]), int(row["last"])
            except (TypeError, ValueError):
                raise MoedeskError(f"line {rows.line_num}: first and last are whole numbers") from None
            labels.append(checked(Label((row["name"] or "").strip(), first, last, (row.get("stream") or "").strip())))
    except csv.Error as error:
        raise MoedeskError(f"line {rows.line_num}: {error}") from None
    return LabelSet(_few(labels))


def checked(label: Label) -> Label:
    """Return a label that can be stored.

    Raises
    ------
    MoedeskError
        If its name, its stream or its ends can't be.
    """
    if not label.name or not label.name.isprintable():
        raise MoedeskError(f"a label is one line of at most 64 bytes, not {label.name!r}")
    encode_name(label.name)
    if not 0 <= label.first < label.last < 1 << 62:
        raise MoedeskError(
            f"label {label.name!r} goes from {label.first} to {label.last}; write first:last, end excluded, from 0"
        )
    if len(label.stream.encode()) > _STREAM_BYTES:
        raise MoedeskError(f"label {label.name!r}: {_shortened(label.stream)} is no token stream")
    return label


def _few(labels: Sequence[Label]) -> tuple[Label, ...]:
    if len(labels) > MOST:
        raise MoedeskError(f"it holds {len(labels):,} labels, more than {MOST:,}; put neighbours together")
    return tuple(labels)


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
