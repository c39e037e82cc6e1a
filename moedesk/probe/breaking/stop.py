"""One stop: the token and layer at which the model's thread stands, and what can be looked at and changed there."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moedesk.core.columns import Phase
from moedesk.core.errors import MoedeskError
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.breaking.arrival import Arrival


@dataclass
class Stop:
    """Where the model's thread stands.

    Attributes
    ----------
    arrival : Arrival
    row : int
        Of the token rows of the call.
    slot : int
        The one that is pointed out; -1 if the token has no expert.
    why : str
        The breakpoint's filter, or what step led here.
    breakpoint : int or None
        The breakpoint's number.
    matching, match : int
        How many rows of this call match, and which of them this is, from 1.
    hits : int
        Of the breakpoint.
    """

    arrival: Arrival
    row: int
    slot: int
    why: str = ""
    breakpoint: int | None = None
    matching: int = 1
    match: int = 1
    hits: int = 0

    @property
    def layer(self) -> int:
        """Place of the layer."""
        return self.arrival.layer.place

    @property
    def expert(self) -> int | None:
        """The expert that is pointed out, or None."""
        return None if self.slot < 0 else int(_given(self.arrival.routes.experts)[self.row, self.slot])

    @property
    def token(self) -> np.void:
        """The token's row, dtype ``columns.TOKEN``."""
        row: np.void = self.arrival.tokens[self.row]
        return row

    @property
    def text(self) -> str:
        """The token's text."""
        token_id = int(self.token["token_id"])
        return str(self.arrival.texts(np.array([token_id]))[0]) if token_id >= 0 else ""

    @property
    def phase(self) -> str:
        """What the pass is for."""
        return Phase(int(self.arrival.under_way.header["phase"][0])).label

    @property
    def place(self) -> str:
        """Layer and expert, e.g. ``3.7``."""
        return f"{self.layer}.{self.expert}" if self.expert is not None else str(self.layer)

    def fields(self) -> dict[str, Any]:
        """Return what logpoints and conditions can name, but for the tensors; see ``core.breakpoint.FIELDS``."""
        routes, token = self.arrival.routes, self.token
        weights = _given(routes.weights)[self.row]
        return {
            "token": self.text,
            "layer": self.layer,
            "expert": self.expert,
            "weight": float(weights[self.slot]) if self.slot >= 0 else float("nan"),
            "margin": float(_given(routes.margin)[self.row]),
            "entropy": float(_given(routes.entropy)[self.row]),
            "phase": self.phase,
            "sequence": int(token["sequence"]),
            "position": int(token["position"]),
            "column": int(token["column"]),
            "id": int(token["token_id"]),
            "row": (self.arrival.first or 0) + self.row,
            "hits": self.hits,
            "ids": _given(routes.experts)[self.row].tolist(),
            "weights": weights.tolist(),
        }

    def told(self) -> dict[str, Any]:
        """Return what apps are told: JSON, null where a number is unknown."""
        fields = self.fields()
        told: dict[str, Any] = {"why": self.why, "breakpoint": self.breakpoint, "pass": self.arrival.under_way.number}
        told["path"] = self.arrival.layer.path
        told["stream"] = self.arrival.layer.stream
        told["token"] = {name: fields.pop(name) for name in ("sequence", "position", "column", "id", "row")}
        told["token"]["text"] = fields.pop("token")
        told["matching"], told["match"] = self.matching, self.match
        return {name: _plain(value) for name, value in {**told, **fields}.items()}

    def line(self) -> str:
        """Return where it is, in one line."""
        fields = self.fields()
        routes = ", ".join(
            f"{expert} × {weight:.3f}" if expert >= 0 else "dropped"
            for expert, weight in zip(fields["ids"], fields["weights"], strict=True)
        )
        margin = f" · margin {fields['margin']:.3g}" if isfinite(fields["margin"]) else ""
        where = f"{fields['token']!r}, position {fields['position']}, {fields['phase']}"
        which = f" · {self.match} of {self.matching} tokens here" if self.matching > 1 else ""
        return f"stopped at {self.place} · {where} · {routes}{margin}{which} · {self.why}"


class Locals:
    """What the code typed at a stop sees of it, and what it changed.

    ``ids`` and ``weights`` are the token's, (k,), and views of ``all_ids`` and ``all_weights``, (T, k), of every token of the
    call: writing into either, or giving ``ids`` or ``weights`` a new value, changes what the experts get.

    Parameters
    ----------
    stop : Stop
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        arrival, row = stop.arrival, stop.row
        given = arrival.routing
        event = arrival.reached.event
        self._ids = (given.ids if given is not None else event.ids.long()).detach().clone()
        weights = given.weights if given is not None else event.weights
        assert weights is not None
        self._weights = weights.detach().clone()
        self._own = self._ids.clone(), self._weights.clone()
        logits, hidden = event.logits, arrival.hidden()
        place = arrival.place_of(row)
        at = slice(0, 0) if place is None else place
        self._at = at
        self.values: dict[str, Any] = {
            **stop.fields(),
            "ids": self._ids[at],
            "weights": self._weights[at],
            "logits": None if logits is None else logits.reshape(self._ids.shape[0], -1)[at].clone(),
            "hidden": None if hidden is None else hidden[at].clone(),
            "all_ids": self._ids,
            "all_weights": self._weights,
            "all_logits": None if logits is None else logits.reshape(self._ids.shape[0], -1),
        }

    def routing(self, namespace: Mapping[str, Any]) -> Routing | None:
        """Return the routing that was made of it, or None if it is what it was.

        Parameters
        ----------
        namespace : mapping
            Where the code ran.

        Raises
        ------
        MoedeskError
            If it can't be used; in one line.
        """
        ids, weights = self._ids.clone(), self._weights.clone()
        for name, target in (("ids", ids), ("weights", weights)):
            value = namespace.get(name)
            if value is not self.values[name]:
                target[self._at] = _row(name, value, target[self._at])
        own_ids, own_weights = self._own
        changed_ids = not torch.equal(ids, own_ids)
        same = (weights == own_weights) | (weights.isnan() & own_weights.isnan())
        if not changed_ids and bool(same.all()):
            return None
        reached, layer = self._stop.arrival.reached, self._stop.arrival.layer
        given = reached.routing
        try:
            reached.allow(changed_ids)
            if given is None:
                raise MoedeskError("its first call is over")
        except MoedeskError as error:
            raise MoedeskError(f"the routing of {layer.path} can be looked at, not changed: {error}") from None
        changed = (ids != own_ids) & ((ids >= layer.experts) | (ids < -1))
        if bool(changed.any()):
            raise MoedeskError(
                f"ids {sorted(set(ids[changed].tolist()))} are no experts of layer {layer.place}, which has "
                f"{layer.experts}: 0 to {layer.experts - 1}, or -1 for none"
            )
        assert given is not None
        weights = weights.masked_fill(ids < 0, 0)
        same &= (ids >= 0) | (weights == given.weights)
        kept = given.weights if bool(same.all()) else torch.where(same, given.weights, weights)
        return replace(given, ids=ids.to(given.ids) if changed_ids else given.ids, weights=kept)


def _row(name: str, value: Any, like: Tensor) -> Tensor:
    """A new value of ``ids`` or ``weights`` as a row of them."""
    try:
        row = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise MoedeskError(f"{name} is {type(value).__name__}, no row of {like.numel()} numbers ({error})") from None
    if row.shape != like.shape:
        raise MoedeskError(f"{name} has shape {tuple(row.shape)}, not {tuple(like.shape)}: a number for each slot")
    if name == "ids" and row.is_floating_point():
        raise MoedeskError("ids are whole numbers")
    return row.detach().to(like)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _given(column: Any) -> Any:
    assert column is not None
    return column
