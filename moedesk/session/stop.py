"""Where a live model stands at a breakpoint, as its process tells it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from moedesk.core.errors import CaptureError
from moedesk.core.filter import Term, token_pattern
from moedesk.core.selection import Kind, Selection
from moedesk.core.store import Store
from moedesk.session.live import Live

TOPIC = "stopped"


@dataclass(frozen=True)
class Slot:
    """One of the token's slots.

    Attributes
    ----------
    expert : int
        Logical id; -1 where the slot was dropped.
    weight : float
        What the expert's output is multiplied by; NaN if it isn't known.
    """

    expert: int
    weight: float


@dataclass(frozen=True)
class Stop:
    """A token at a layer, in a pass that is still under way: its rows are not in the store yet.

    Attributes
    ----------
    why : str
        The breakpoint's text, or which step ended here.
    breakpoint : int or None
        Its id; None after a step.
    layer : int
        Place in ``ModelInfo.layers``.
    expert : int or None
        The expert the breakpoint names; None if it names none.
    text : str
        Of the token; empty if it isn't known.
    sequence, position, column : int or None
    stream : str
        Token stream of the layer; empty for the main one.
    phase : str
    pass_id : int or None
    margin : float
        Score of rank k minus rank k+1; NaN if it isn't known.
    slots : tuple of Slot
        In the order in which the experts received them.
    match, matching : int
        Which of the tokens that match at this layer this is, from 1, and how many there are.
    """

    why: str
    breakpoint: int | None = None
    layer: int = 0
    expert: int | None = None
    text: str = ""
    sequence: int | None = None
    position: int | None = None
    column: int | None = None
    stream: str = ""
    phase: str = ""
    pass_id: int | None = None
    margin: float = math.nan
    slots: tuple[Slot, ...] = ()
    match: int = 1
    matching: int = 1

    @property
    def place(self) -> str:
        """``layer.expert``, or the layer alone."""
        return f"{self.layer}" if self.expert is None else f"{self.layer}.{self.expert}"

    @property
    def selection(self) -> Selection:
        """What becomes ``$0``: the expert, or the layer where no expert is named; the token has no row yet."""
        if self.expert is not None and self.expert >= 0:
            return Selection(Kind.EXPERT, layer=self.layer, expert=self.expert)
        return Selection(Kind.LAYER, layer=self.layer)

    @property
    def where(self) -> str:
        """Pass, layer, expert and token in one line; first that the pass is not stored, which is what is missed elsewhere."""
        parts = []
        if self.pass_id is not None:
            parts.append(f"pass {self.pass_id:,}" + (f" ({self.phase})" if self.phase else "") + ", not stored yet")
        elif self.phase:
            parts.append(self.phase)
        parts.append(f"layer {self.layer}")
        if self.expert is not None:
            parts.append("dropped slot" if self.expert < 0 else f"expert {self.expert}")
        if token := self._token():
            parts.append(token)
        if not math.isnan(self.margin):
            parts.append(f"margin {self.margin:.4g}")
        if self.matching > 1:
            parts.append(f"{self.match:,} of {self.matching:,} matching tokens here")
        return " · ".join(parts)

    @property
    def chosen(self) -> str:
        """The token's slots in one line, as ``37 × 0.412``; a slot that was dropped says so."""
        return " · ".join(
            "dropped" if slot.expert < 0 else f"{slot.expert} × {weight_text(slot.weight)}" for slot in self.slots
        )

    def _token(self) -> str:
        written = Term("token", token_pattern(self.text)).to_text().removeprefix("token:") if self.text else ""
        if written and not written.startswith('"'):
            written = f'"{written}"'
        position = "" if self.position is None else f"at {self.position:,}"
        sequence = f"of sequence {self.sequence:,}" if self.sequence else ""
        words = " ".join(word for word in (written, position, sequence) if word)
        return f"token {words}" if words else ""


def weight_text(weight: float) -> str:
    """Return a gate weight as it is shown."""
    return "?" if math.isnan(weight) else f"{weight:.3g}"


def stop_of(live: Live | None) -> Stop | None:
    """Return where a session's model stands; None while it runs, where none is attached, and of a file."""
    return None if live is None else read_stop(live.told(TOPIC))


def read_stop(value: Mapping[str, Any]) -> Stop | None:
    """Return what the topic ``stopped`` says; what has no sense in it is left out. None if it is empty."""
    if not value:
        return None
    token = value.get("token")
    token = token if isinstance(token, Mapping) else {}
    return Stop(
        why=str(value.get("why") or "a breakpoint"),
        breakpoint=_whole(value.get("breakpoint")),
        layer=_whole(value.get("layer")) or 0,
        expert=_whole(value.get("expert")),
        text=str(token.get("text") or ""),
        sequence=_whole(token.get("sequence")),
        position=_whole(token.get("position")),
        column=_whole(token.get("column")),
        stream=str(value.get("stream") or ""),
        phase=str(value.get("phase") or ""),
        pass_id=_whole(value.get("pass")),
        margin=_real(value.get("margin")),
        slots=_slots(value.get("ids"), value.get("weights")),
        match=_whole(value.get("match")) or 1,
        matching=_whole(value.get("matching")) or 1,
    )


def rows_stored(store: Store, stop: Stop) -> int:
    """Return how many token rows of a stop's stream are stored by now; 0 as long as there is none."""
    try:
        return store.n_tokens(stop.stream or None)
    except CaptureError:  # no pass came yet
        return 0


def row_of(store: Store, stop: Stop, since: int, first_sequence: int = 0) -> int | None:
    """Return the token row at which a model stood, once its pass is stored; None before. Reads the store: for a worker.

    Parameters
    ----------
    store : Store
    stop : Stop
    since : int
        Token rows that were stored when the model stopped.
    first_sequence : int
        What the store's sequences are counted on from, see ``Live.first_sequence``.
    """
    if stop.sequence is None or stop.column is None or stop.sequence < 0:
        return None
    tokens = store.read_tokens(since, store.n_tokens(stop.stream or None), stop.stream or None)
    here = (tokens["sequence"] == stop.sequence + first_sequence) & (tokens["column"] == stop.column)
    rows = np.flatnonzero(here)
    return since + int(rows[-1]) if len(rows) else None


def _slots(ids: Any, weights: Any) -> tuple[Slot, ...]:
    if not isinstance(ids, list):
        return ()
    known = weights if isinstance(weights, list) and len(weights) == len(ids) else [None] * len(ids)
    return tuple(
        Slot(expert, _real(weight))
        for expert, weight in zip(map(_whole, ids), known, strict=True)
        if expert is not None
    )


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _real(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
