"""A layer's own selection made to choose some experts for a token; weights are what it makes of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.explaining.rerun import Rerun
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.parts import first_tensor
from moedesk.probe.overriding.by_adapter import AdaptedCall
from moedesk.probe.overriding.forward_around import ForwardAround
from moedesk.probe.overriding.looked_up import reselection
from moedesk.probe.overriding.rerouting import Rerouting, can_reroute
from moedesk.probe.overriding.score_edit import ScoreEdit
from moedesk.probe.overriding.way import Way


def forceable(binding: Binding, way: Way | None) -> bool:
    """Return whether a layer can be made to choose other experts."""
    return way is not None and way.choosable and (can_reroute(binding) or not way.by_adapter)


def logits_where_selected(rerun: Rerun, bindings: Sequence[Binding]) -> dict[int, np.ndarray]:
    """Return (E,) float64 logits of the token, by place, where an adapter selects by some but reads none (thousands of experts).

    Parameters
    ----------
    rerun : Rerun
        Entered; it runs once more if there is such a layer.
    bindings : sequence of Binding
    """
    found: dict[int, np.ndarray] = {}

    def watch(binding: Binding) -> ForwardAround:
        def note(inner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            output = inner(*args, **kwargs)

            def keep(logits: Tensor) -> Tensor:
                found[binding.layer.place] = logits.reshape(-1, logits.shape[-1])[rerun.row].double().cpu().numpy()
                return logits

            AdaptedCall(binding, args, kwargs, output).select(keep)
            return output

        return ForwardAround(binding.hooked, note)

    unread = [one for one in bindings if one.adapter is not None and one.adapter.select is not None]
    arounds = [watch(one) for one in unread if rerun.routes[one.layer.place].logits is None]
    try:
        if arounds:
            rerun.run()
    finally:
        for around in arounds:
            around.remove()
    return found


@contextmanager
def forced(
    binding: Binding, way: Way, chosen: Mapping[int, Tensor], rows: int, seen: dict[int, Routing]
) -> Iterator[None]:
    """Make a layer choose some experts in some rows of a batch, or in the last row of a whole pass.

    Parameters
    ----------
    binding : Binding
    way : Way
        How it selects, see ``forceable``.
    chosen : mapping of int to (k,) int64 tensor
        By row.
    rows : int
        Of the batch; 1 for a whole pass.
    seen : dict
        Takes, by the layer's place, the routing that its experts got in the first call.
    """
    place = binding.layer.place

    def note(routing: Routing) -> Routing:
        seen.setdefault(place, routing)
        return routing

    def edit(count: int, device: torch.device) -> ScoreEdit:
        width = len(next(iter(chosen.values())))
        ids = torch.full((count, width), -1, dtype=torch.int64, device=device)
        for row, experts in chosen.items():
            ids[row if rows > 1 else -1] = experts.to(ids)
        return ScoreEdit(Override(OverrideKind.REPLAY), ids=ids)

    def select(inner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hidden = first_tensor((*args, *kwargs.values()))
        assert hidden is not None
        with reselection(way, [edit(hidden.shape[:-1].numel(), hidden.device)]) as selection:
            output = inner(*args, **kwargs)
        if not selection.reached:
            raise MoedeskError("a layer selects in another way than when it was tried, so its choice can't be forced")
        return output

    def select_by_adapter(inner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = inner(*args, **kwargs)
        adapter, module = binding.adapter, binding.hooked
        assert adapter is not None
        assert adapter.write is not None
        routing = adapter.routing(module, args, kwargs, output)
        if routing is None:
            return output
        wanted = edit(len(routing.ids), routing.ids.device)
        assert wanted.ids is not None
        new, there = AdaptedCall(binding, args, kwargs, output).reselected(way, [wanted]), wanted.ids[:, :1] >= 0
        ids = torch.where(there, new.ids.to(routing.ids), routing.ids)
        weights = torch.where(there, new.weights.to(routing.weights), routing.weights)
        return adapter.write(module, args, kwargs, output, note(replace(routing, ids=ids, weights=weights)))

    around = ForwardAround(way.module, select_by_adapter if way.by_adapter else select)
    try:
        if way.by_adapter:
            yield
        else:
            with Rerouting(binding, note):
                yield
    finally:
        around.remove()
