"""What the console is told of the last selections: their places and their data, small enough to send at each click."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from moedesk.analysis.passage import token_passage
from moedesk.core.errors import MoedeskError
from moedesk.core.selection import Kind, Selection
from moedesk.core.store import Store

MOST_LAYERS = 256
"""Layers of which a token's routing is sent."""
PASSAGE_ROWS = 1 << 17
"""Rows before a token in which those that it saw are looked for."""


def selected_data(store: Store, history: Sequence[Selection]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return fields and arrays of a ``selection`` request; reads the store, so call it from a worker.

    Parameters
    ----------
    history : sequence of Selection
        ``$0`` first.

    Returns
    -------
    fields : dict
        ``history``: a dict for each selection, its set fields and ``path`` of its layer, ``text`` and ``next_id`` of its token,
        numbers of its pass.
    arrays : dict
        ``N.counts`` (E,) of an expert or a layer over the capture; ``N.experts``, ``N.weights`` (L, k), ``N.entropy``,
        ``N.margin`` (L,) of a token at the layers of its stream, with ``N.layers`` (L,) their places; ``N.ids`` (n,) of the
        tokens that it saw, itself the last; ``N.after`` and ``N.source`` where it has them (``TokenPassage``).
    """
    described: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for place, selection in enumerate(history):
        try:
            fields, columns = _describe(store, selection)
        except (MoedeskError, IndexError) as error:  # e.g. selected before a restart
            fields, columns = {"error": str(error)}, {}
        set_fields = {name: value for name, value in asdict(selection).items() if value is not None}
        described.append({**set_fields, "kind": str(selection.kind), **fields})
        arrays |= {f"{place}.{name}": np.ascontiguousarray(column) for name, column in columns.items()}
    return {"history": described}, arrays


def _describe(store: Store, selection: Selection) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    fields: dict[str, Any] = {}
    columns: dict[str, np.ndarray] = {}
    if selection.layer is not None:
        layer = store.model.layer(selection.layer)
        fields |= {"path": layer.path, "router_path": layer.router_path, "experts_path": layer.experts_path}
        if selection.kind in (Kind.LAYER, Kind.EXPERT):
            columns["counts"] = store.counts(layer)
    if selection.kind is Kind.TOKEN and selection.token is not None:
        fields |= _token(store, selection)
        columns |= _routes(store, selection)
        with suppress(MoedeskError):  # rows before it were left out: what needs them says so
            passage = token_passage(store, selection.token, selection.stream, far=PASSAGE_ROWS)
            columns["ids"] = passage.ids
            other = {"after": passage.after, "source": passage.source}
            columns |= {name: ids for name, ids in other.items() if ids is not None}
            fields["next_id"] = passage.next_id
    if selection.pass_id is not None and selection.kind is Kind.PASS:
        header = store.read_passes(selection.pass_id, selection.pass_id + 1)[0]
        fields["header"] = {name: int(header[name]) for name in header.dtype.names or ()}
    return fields, columns


def _token(store: Store, selection: Selection) -> dict[str, Any]:
    assert selection.token is not None
    row = store.read_tokens(selection.token, selection.token + 1, selection.stream)[0]
    text = store.token_text([int(row["token_id"])])[0]
    names = ("sequence", "position", "column", "token_id")
    return {"text": text, **{name: int(row[name]) for name in names}, "pass_id": int(row["pass"])}


def _routes(store: Store, selection: Selection) -> dict[str, np.ndarray]:
    stream = selection.stream or (store.model.streams[0] if store.model.layers else "main")
    layers = [layer for layer in store.model.layers if layer.stream == stream][:MOST_LAYERS]
    if not layers or selection.token is None:
        return {}
    i, j = selection.token, selection.token + 1
    width = max(layer.top_k for layer in layers)
    experts = np.full((len(layers), width), -1, np.int32)
    weights = np.full((len(layers), width), np.nan, np.float32)
    for row, layer in enumerate(layers):
        experts[row, : layer.top_k] = store.experts(layer, i, j)[0]
        weights[row, : layer.top_k] = store.weights(layer, i, j)[0]
    return {
        "layers": np.array([layer.place for layer in layers], np.int32),
        "experts": experts,
        "weights": weights,
        "entropy": np.concatenate([store.entropy(layer, i, j) for layer in layers]),
        "margin": np.concatenate([store.margin(layer, i, j) for layer in layers]),
    }
