"""``$0`` … ``$4`` and ``sel``: what was clicked in the app, the newest first."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

from moedesk.core.errors import MoedeskError
from moedesk.probe.console.moe import Moe
from moedesk.probe.console.selected_place import (
    Array,
    Selected,
    SelectedExpert,
    SelectedLayer,
    SelectedModule,
    SelectedPass,
)
from moedesk.probe.console.selected_stop import SelectedStop
from moedesk.probe.console.selected_token import SelectedToken


class NothingSelectedError(MoedeskError, IndexError):
    """There is no such selection."""


KINDS: Mapping[str, type[Selected]] = {
    "expert": SelectedExpert,
    "layer": SelectedLayer,
    "token": SelectedToken,
    "pass": SelectedPass,
    "module": SelectedModule,
    "stop": SelectedStop,
}
KEPT = 5
"""Selections that are remembered."""


class Selections(Sequence[Selected]):
    """The last selections in the app, the newest first: ``sel[0]`` is ``$0``.

    Examples
    --------
    >>> $0.counts              # of an expert or a layer
    >>> sel[1].experts         # (layers, k) of a token
    >>> $0.module.weight       # of a module of the attached model
    """

    def __init__(self, moe: Moe) -> None:
        self._moe = moe
        self._items: tuple[Selected, ...] = ()
        self._stop: Selected | None = None

    def take(self, fields: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Take what the app says was selected last: ``history``, and arrays named ``N.name`` for its N-th entry.

        The app selects the expert or the layer where the model stands; here that is the stop, which knows the token too.
        """
        items: list[Selected] = []
        for place, entry in enumerate(fields.get("history", ())):
            prefix = f"{place}."
            own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            items.append(KINDS.get(str(entry.get("kind")), Selected)(self._moe, entry, own))
        stop = self._stop if self._moe.stands else None
        here = [place for place, item in enumerate(items) if stop is not None and _is_at(item, stop)]
        if stop is not None and here:
            items[here[0]] = stop
        self._items = tuple(items)

    def put(self, stop: Selected) -> None:
        """Put where the model stands in front: the app does not know its token."""
        self._stop = stop
        self._items = (stop, *self._items)[:KEPT]

    @overload
    def __getitem__(self, place: int) -> Selected: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Selected]: ...
    def __getitem__(self, place: int | slice) -> Selected | Sequence[Selected]:
        if isinstance(place, slice):
            return self._items[place]
        try:
            return self._items[place]
        except IndexError:
            had = f"only {len(self._items)} selections so far" if self._items else "nothing is selected"
            raise NothingSelectedError(f"{had}; click an expert, layer, token or pass in the app") from None

    def __iter__(self) -> Iterator[Selected]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        if not self._items:
            return "nothing is selected; click an expert, layer, token or pass in the app"
        return "\n".join(f"${place}  {item.title}" for place, item in enumerate(self._items))


def _is_at(item: Selected, stop: Selected) -> bool:
    """Whether an expert or a layer is where the model stands."""
    return item.fields.get("kind") in ("expert", "layer") and all(
        item.fields.get(name, -1) == stop.fields.get(name, -1) for name in ("layer", "expert")
    )
