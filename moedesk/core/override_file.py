"""Overrides in a file: JSON, so that a list can be kept, passed on, and set again in another run."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override

KEY = "moedesk_overrides"
"""What the file begins with; its value is the version of the format."""
VERSION = 1
MOST = 10_000
"""Overrides of a file; more are a mistake."""


@dataclass(frozen=True)
class Kept:
    """One override of a file, and whether it is switched on."""

    override: Override
    on: bool = True


def as_text(kept: Iterable[Kept], model: str = "") -> str:
    """Return the contents of a file, one override a line; ``model`` is only told, so that a reader knows what they were for."""
    lines = [json.dumps(one, ensure_ascii=False) for one in plain(kept)]
    head = f'{{\n  "{KEY}": {VERSION},\n  "model": {json.dumps(model, ensure_ascii=False)},\n  "overrides": ['
    return head + ",".join(f"\n    {line}" for line in lines) + ("\n  ]\n}\n" if lines else "]\n}\n")


def from_text(text: str) -> tuple[Kept, ...]:
    """Return the overrides of a file, in their order.

    Raises
    ------
    MoedeskError
        In one line: it is no such file, or which entry makes no sense.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MoedeskError(f"no list of overrides: it is not JSON ({error})") from None
    if not isinstance(values, dict) or KEY not in values:
        raise MoedeskError(f'no list of overrides: it has no "{KEY}"; Save in the Overrides panel writes one')
    if values[KEY] != VERSION:
        raise MoedeskError(f"overrides of format {values[KEY]!r}, and this moedesk reads {VERSION}: update moedesk")
    return kept_of(values.get("overrides"))


def plain(kept: Iterable[Kept]) -> list[dict[str, Any]]:
    """Return overrides as JSON values, each with its switch."""
    return [{"on": one.on, **one.override.to_json()} for one in kept]


def kept_of(entries: object) -> tuple[Kept, ...]:
    """Return the overrides of which ``plain`` made JSON values.

    Raises
    ------
    MoedeskError
        In one line: which entry makes no sense.
    """
    if not isinstance(entries, list) or len(entries) > MOST:
        raise MoedeskError(f'"overrides" is a list of at most {MOST:,} overrides')
    return tuple(_kept(number, entry) for number, entry in enumerate(entries, 1))


def save(path: Path, kept: Iterable[Kept], model: str = "") -> None:
    """Write a file.

    Raises
    ------
    MoedeskError
        If it can't be written.
    """
    try:
        path.write_text(as_text(kept, model), encoding="utf-8")
    except OSError as error:
        raise MoedeskError(f"{path} can't be written: {error.strerror or error}; choose another folder") from None


def load(path: Path) -> tuple[Kept, ...]:
    """Read a file.

    Raises
    ------
    MoedeskError
        If it can't be read, or is no list of overrides.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MoedeskError(f"{path} can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise MoedeskError(f"{path}: no list of overrides: it is not text") from None
    try:
        return from_text(text)
    except MoedeskError as error:
        raise MoedeskError(f"{path}: {error}") from None


def _kept(number: int, entry: Any) -> Kept:
    if not isinstance(entry, dict) or not isinstance(entry.get("on", True), bool):
        raise MoedeskError(f'override {number} is not an object, or its "on" is neither true nor false')
    try:
        return Kept(
            Override.from_json({name: value for name, value in entry.items() if name != "on"}), entry.get("on", True)
        )
    except MoedeskError as error:
        raise MoedeskError(f"override {number}: {error}") from None
