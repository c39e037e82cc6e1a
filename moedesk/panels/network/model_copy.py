"""What is selected as a table, and as text to paste: Python that reads just that, CSV, JSON. No Qt."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from pathlib import Path

import numpy as np

from moedesk.analysis.tokens import token_routes
from moedesk.core.selection import Kind, Selection
from moedesk.core.store import Store

LIMIT = 20_000
"""At most this many rows are copied."""

Value = int | float | str


@dataclass(frozen=True)
class Extract:
    """A table of what is selected.

    Attributes
    ----------
    title : str
    columns : tuple of str
    rows : tuple of tuple
    cut : bool
        Whether there is more than ``LIMIT`` rows.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    cut: bool


@dataclass(frozen=True)
class Subject:
    """What to extract.

    Attributes
    ----------
    selection : Selection
    layer : int
        The layer for a pass, which has all of them.
    span : tuple of int
        The passes for a layer or an expert, end excluded.
    """

    selection: Selection
    layer: int
    span: tuple[int, int]


def extract(store: Store, subject: Subject) -> Extract:
    """Read what is selected: a token over all layers, a pass at a layer, an expert over passes, or a layer's experts."""
    selection = subject.selection
    match selection.kind:
        case Kind.TOKEN if selection.token is not None:
            columns: tuple[str, ...] = ("layer", "path", "slot", "expert", "weight", "entropy", "margin", "flags")
            rows = _token_rows(store, selection.token, selection.stream)
            title = str(selection)
        case Kind.EXPERT if selection.layer is not None and selection.expert is not None:
            columns = ("pass", "slots", "layer_slots")
            rows = _expert_rows(store, selection.layer, selection.expert, subject.span)
            title = f"{selection}, passes {subject.span[0]}–{subject.span[1] - 1}"
        case Kind.LAYER if selection.layer is not None:
            columns = ("expert", "slots")
            counts = store.window_counts(*subject.span)[selection.layer]
            rows = iter(list(enumerate(counts.tolist())))
            title = f"{selection}, passes {subject.span[0]}–{subject.span[1] - 1}"
        case _:
            number = _pass_of(subject)
            columns = ("row", "sequence", "position", "token_id", "text", "padding", "slot", "expert", "weight")
            rows = _pass_rows(store, number, subject.layer)
            title = f"pass {number} at layer {subject.layer}"
    kept = tuple(islice(rows, LIMIT + 1))
    return Extract(title, columns, kept[:LIMIT], len(kept) > LIMIT)


def _pass_of(subject: Subject) -> int:
    return subject.selection.pass_id if subject.selection.pass_id is not None else subject.span[0]


def _token_rows(store: Store, row: int, stream: str | None) -> Iterator[tuple[Value, ...]]:
    for route in token_routes(store, row, stream).layers:
        for slot in sorted(route.slots, key=lambda slot: slot.slot):
            yield (
                route.layer.place,
                route.layer.path,
                slot.slot,
                slot.expert,
                slot.weight,
                route.entropy,
                route.margin,
                int(route.flags),
            )


def _pass_rows(store: Store, number: int, place: int) -> Iterator[tuple[Value, ...]]:
    layer = store.model.layer(place)
    first, last = store.token_span(number, number + 1, layer.stream)
    last = min(last, first + LIMIT + 1)  # at least a row each
    tokens = store.read_tokens(first, last, layer.stream)
    texts = store.token_text(tokens["token_id"])
    experts, weights = store.experts(layer, first, last), store.weights(layer, first, last)
    for index, token in enumerate(tokens):
        about = (
            first + index,
            int(token["sequence"]),
            int(token["position"]),
            int(token["token_id"]),
            texts[index],
            int(token["is_padding"]),
        )
        for slot in range(experts.shape[1]):
            yield (*about, slot, int(experts[index, slot]), float(weights[index, slot]))


def _expert_rows(store: Store, layer: int, expert: int, span: tuple[int, int]) -> Iterator[tuple[Value, ...]]:
    for number in range(*span):
        counts = store.window_counts(number, number + 1)[layer]
        yield number, int(counts[expert]), int(counts.sum())


def as_csv(table: Extract) -> str:
    """Return the table as CSV with a header line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.rows)
    return out.getvalue()


def as_json(table: Extract) -> str:
    """Return the table as a JSON list of objects; what is not finite is null."""
    rows = [{name: _plain(value) for name, value in zip(table.columns, row, strict=True)} for row in table.rows]
    return json.dumps(rows, ensure_ascii=False, indent=1)


def _plain(value: Value) -> Value | None:
    return None if isinstance(value, float | np.floating) and not isfinite(value) else value


def as_text(table: Extract) -> str:
    """Return the table in columns divided by tabs, numbers shortened."""
    lines = ["\t".join(table.columns)]
    lines += ["\t".join(_short(value) for value in row) for row in table.rows]
    return "\n".join(lines) + ("\n…" if table.cut else "")


def _short(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    return repr(value) if isinstance(value, str) and not value.isprintable() else str(value)


def as_python(store: Store, path: Path | None, subject: Subject) -> str:
    """Return Python that reads what is selected, and nothing else, from the capture."""
    lines = ["import moedesk", "", f"cap = moedesk.open({str(path or store.name)!r})"]
    selection, (first, last) = subject.selection, subject.span
    match selection.kind:
        case Kind.TOKEN if selection.token is not None:
            row = selection.token
            stream = selection.stream or store.model.streams[0]
            several = f" if layer.stream == {stream!r}" if len(store.model.streams) > 1 else ""
            layers = f"[layer for layer in cap.model.layers{several}]" if several else "cap.model.layers"
            lines += [
                f"experts = {{layer.path: cap.experts(layer, {row}, {row + 1})[0] for layer in {layers}}}",
                f"weights = {{layer.path: cap.weights(layer, {row}, {row + 1})[0] for layer in {layers}}}",
            ]
        case Kind.EXPERT if selection.layer is not None:
            lines += [f'slots = cap.counts({selection.layer}, by="pass")[{first}:{last}, {selection.expert}]']
        case Kind.LAYER if selection.layer is not None:
            lines += [f"counts = cap.window_counts({first}, {last})[{selection.layer}]"]
        case _:
            number, stream = _pass_of(subject), store.model.layer(subject.layer).stream
            i, j = store.token_span(number, number + 1, stream)
            lines += [
                f"i, j = {i}, {j}  # the token rows of pass {number}",
                f"experts = cap.experts({subject.layer}, i, j)",
                f"weights = cap.weights({subject.layer}, i, j)",
                f"text = cap.text(i, j{'' if stream == store.model.streams[0] else f', {stream!r}'})",
            ]
    return "\n".join(lines) + "\n"
