"""Which overrides acted on which passes, as columns: a text each, and a row for each run of passes."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from moedesk.capture.column import Column
from moedesk.capture.contents import Contents
from moedesk.capture.schema import OVERRIDE_BYTES, OVERRIDE_ENDS, OVERRIDE_RANGES
from moedesk.core.acted import Acted, acted_of, row
from moedesk.core.errors import CaptureError, MoedeskError
from moedesk.core.override import Override
from moedesk.core.override_text import override_of, text_of

MOST = 10_000
"""Different overrides of a capture that are kept; of a loop over more, the first ones."""
MOST_BYTES = 64 << 20
"""More text than this is not read."""


class OverrideColumns:
    """Appends an override when it first acts, and a row when it begins to act and when it ends.

    Parameters
    ----------
    note : callable
        Takes a line if there are too many to be kept.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._ranges, self._ends, self._bytes = Column(OVERRIDE_RANGES), Column(OVERRIDE_ENDS), Column(OVERRIDE_BYTES)
        self._note = note
        self._full = False
        self._numbers: dict[Override, int] = {}
        self._acting: dict[int, int] = {}  # the pass from which on it does

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the file lays out."""
        return self._ranges, self._ends, self._bytes

    def append(self, number: int, overrides: Sequence[Override]) -> None:
        """Take what acts on the next pass, which has this number."""
        if not overrides and not self._acting:
            return
        now = [self._number(override) for override in overrides]
        for ended in [override for override in self._acting if override not in now]:
            self._ranges.append(row(ended, self._acting.pop(ended), number))
        for override in now:
            if override is not None and override not in self._acting:
                self._acting[override] = number
                self._ranges.append(row(override, number))

    def _number(self, override: Override) -> int | None:
        known = self._numbers.get(override)
        if known is not None:
            return known
        if len(self._numbers) >= MOST:
            if not self._full:
                self._full = True
                self._note(f"more than {MOST:,} different overrides acted; only the first ones are named")
            return None
        text = np.frombuffer(text_of(override).encode(), np.uint8)
        self._bytes.append(text)
        self._ends.append(np.array([self._bytes.rows], OVERRIDE_ENDS.dtype))
        self._numbers[override] = len(self._numbers)
        return self._numbers[override]


def read_overrides(contents: Contents) -> tuple[tuple[Acted, ...], str]:
    """Return what acted on the passes of a capture, and what of it was left out, in one line (empty: nothing)."""
    if not contents.has(OVERRIDE_RANGES.path):
        return (), ""
    try:
        ranges, ends, texts = (contents.column(spec.path) for spec in (OVERRIDE_RANGES, OVERRIDE_ENDS, OVERRIDE_BYTES))
        if len(texts) > MOST_BYTES or len(ends) > MOST:
            return (), f"overrides left out: more than {MOST:,}, or than {MOST_BYTES >> 20} MiB"
        overrides, problem = _read(texts.read(0, len(texts)).tobytes(), ends.read(0, len(ends)).tolist())
        return acted_of(overrides, ranges.read(0, len(ranges)), contents.n_passes), problem
    except (CaptureError, KeyError, ValueError, TypeError) as error:
        return (), f"overrides left out: {str(error).splitlines()[0][:200]}"


def _read(text: bytes, ends: Sequence[int]) -> tuple[list[Override | None], str]:
    """The overrides of a capture, None for each that can't be read, and which that are."""
    found: list[Override | None] = []
    wrong = []
    for number, (start, end) in enumerate(pairwise((0, *ends))):
        try:
            found.append(override_of(text[start:end].decode()))
        except (MoedeskError, UnicodeDecodeError) as error:
            found.append(None)
            wrong.append(f"{number} ({str(error)[:120]})")
    more = f" and {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
    return found, f"override {wrong[0]}{more} left out: not readable" if wrong else ""
