"""What acts on a block that chooses in its own forward: put on its modules, and taken off again."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from moedesk.core.override import Override
from moedesk.probe.finding.lookout import NO_NAMES
from moedesk.probe.finding.parts import first_tensor
from moedesk.probe.finding.routing import ExpertsCall, read_routing
from moedesk.probe.overriding.act import Act
from moedesk.probe.overriding.changes import rows_differing
from moedesk.probe.overriding.forward_around import ForwardAround
from moedesk.probe.overriding.layer_override import LayerOverride, edit_of
from moedesk.probe.overriding.reselection import Reselection
from moedesk.probe.overriding.score_edit import ScoreEdit
from moedesk.probe.overriding.within import Within
from moedesk.probe.taking.compiled import apart
from moedesk.probe.taking.overridden import Changed, heard, say


class WithinOverride(LayerOverride):
    """What acts on one such block, until it is removed: in one call of its forward, without a second one."""

    _call: tuple[Within, list[tuple[Act, ScoreEdit]]] | None = None

    def put_on(self) -> None:
        """Hook the block and its experts."""
        super().put_on()
        experts = self._binding.candidate.experts
        self._handles.append(experts.register_forward_pre_hook(self._arrive, with_kwargs=True, prepend=True))

    def _hook_selection(self) -> None:
        assert self._way is not None
        self._arounds.append(ForwardAround(self._way.module, self._select))

    def _select(self, inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._pending = self._call = None  # of a call that failed
        hidden = first_tensor((*args, *kwargs.values()))
        assert self._way is not None
        if hidden is None:
            return inner(*args, **kwargs)
        count = hidden.shape[:-1].numel()
        acting = [(act, edit) for act in self._scoring if (edit := edit_of(act, count, hidden.device)) is not None]
        if not acting:
            return inner(*args, **kwargs)
        within = Within(Reselection(self._way, [edit for _, edit in acting]))
        self._call = within, acting
        try:
            with within:
                return inner(*args, **kwargs)
        finally:
            self._call = None

    @apart
    def _arrive(self, module: Any, args: Any, kwargs: Mapping[str, Any] = NO_NAMES) -> None:
        """Before the experts, and before what acts on their routing: tell which rows the score changed."""
        call = None if self._call is None else read_routing(args, kwargs)
        if self._call is None or call is None:
            return
        within, acting = self._call
        plain = within.arrive(call)
        if not within.selection.reached:
            self._miss([act for act, _ in acting])
        changed = rows_differing(*zip(_rows(call, plain), _rows(call, (call.choice, call.weights)), strict=True))
        for act, edit in acting:
            act.count(changed, edit.rows)
        if self._routing:
            self._pending = changed
        elif heard():
            by: tuple[Override, ...] = tuple(act.override for act, _ in acting)
            say(self._binding.candidate.experts, Changed(changed, by=by, ranked=self._ranked(by)))


def _rows(call: ExpertsCall, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Ids (or masks) and weights, a row a token."""
    choice, weights = (part.detach() for part in pair)
    rows = call.weights.shape[:-1].numel()
    return choice.reshape(rows, -1), weights.reshape(rows, -1)
