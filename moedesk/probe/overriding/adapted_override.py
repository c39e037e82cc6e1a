"""What acts on a layer whose adapter says how its block chooses: put on its modules, and taken off again."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from moedesk.core.override import Override
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.overriding.by_adapter import AdaptedCall, unchanged
from moedesk.probe.overriding.forward_around import ForwardAround
from moedesk.probe.overriding.layer_override import LayerOverride, differing, edit_of


class AdaptedOverride(LayerOverride):
    """What acts on one layer by its adapter's ``select`` and ``write``, until it is removed."""

    def put_on(self) -> None:
        """Hook the layer's modules."""
        self._arounds.append(ForwardAround(self._binding.hooked, self._reroute))
        self._put_slots_on()

    def _reroute(self, inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = inner(*args, **kwargs)
        adapter, module = self._binding.adapter, self._binding.hooked
        assert adapter is not None
        assert adapter.write is not None
        routing = adapter.routing(module, args, kwargs, output, graph=True)
        if routing is None:
            return output
        changed = self._change(self._reselected(routing, AdaptedCall(self._binding, args, kwargs, output)))
        return output if changed is routing else adapter.write(module, args, kwargs, output, changed)

    def _reselected(self, routing: Routing, call: AdaptedCall) -> Routing:
        """The routing with all that acts on its score; rows that this doesn't change stay as the block chose."""
        assert self._way is not None
        self._pending = None  # of a call that failed
        count, device = len(routing.ids), routing.ids.device
        acting = [(act, edit) for act in self._scoring if (edit := edit_of(act, count, device)) is not None]
        if not acting:
            return routing
        with torch.no_grad():
            plain = call.select(unchanged)
        new = call.reselected(self._way, [edit for _, edit in acting])
        self._pending = changed = differing(plain, new)
        for act, edit in acting:
            act.count(changed, edit.rows)
        there = changed[:, None]
        ids = torch.where(there, new.ids.to(routing.ids), routing.ids)
        return replace(routing, ids=ids, weights=torch.where(there, new.weights.to(routing.weights), routing.weights))

    def _ranked(self, by: Sequence[Override]) -> bool:
        """Whether the ranked score is what the rule makes of the logits: those that are read are the block's own."""
        scoring = {act.override for act in self._scoring}
        return scoring.isdisjoint(by)
