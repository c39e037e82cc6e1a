"""Follows the operations of one call of a watched block, and changes score, ids and weights where they come by."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode, handle_torch_function

from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.overriding.operations import RANKERS
from moedesk.probe.overriding.reselection import Reselection
from moedesk.probe.overriding.shadow import Shadow
from moedesk.probe.overriding.watched_way import WatchedWay
from moedesk.probe.watched.operations import Place, name_of, returns_tensors


class DeviatedError(Exception):
    """The block went on with other operations than those that were watched, after something was changed."""


class Rewriter(Protocol):
    """What changes a routing on its way."""

    def new_ids(self, ids: Tensor) -> Tensor:
        """Return the ids that are used instead of (N, k) ids; the very same to leave them."""
        ...

    def new_routing(self, routing: Routing, plain: Routing | None) -> Routing:
        """Return the routing that is used instead, with these new ids; the very same to leave it.

        ``plain`` is what it would be without changes of the score; None if there are none.
        """
        ...


class Detour(TorchFunctionMode):
    """While entered around the forward of a watched block, its routing is changed.

    Who else watches the block's operations sees the same ones as without it, with changed results.

    Parameters
    ----------
    way : WatchedWay
    rows : int
        Token rows of the call.
    rewriter : Rewriter
    selection : Reselection, optional
        What is done to the score; it is not entered.

    Attributes
    ----------
    came : bool
        Whether all places came by.
    touched : bool
        Whether anything was changed.
    """

    def __init__(self, way: WatchedWay, rows: int, rewriter: Rewriter, selection: Reselection | None = None) -> None:
        super().__init__()
        self.came = self.touched = False
        self._way, self._rows, self._rewriter, self._selection = way, rows, rewriter, selection
        self._operation = "" if way.score is None else way.score.operation
        self._steps = frozenset(place.step for place in way.places)
        self._taken: dict[Place, Tensor] = {}
        self._plains: dict[Place, Tensor] = {}
        self._step = 0
        self._over = self._left = False
        self._plain = None if selection is None else Shadow()
        self._given = Shadow(graph=True)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if self._over:
            return func(*args, **kwargs) if kwargs else func(*args)
        name = name_of(func)
        scored = self._selection is not None and (name in RANKERS or name == self._operation)
        placed = self._step in self._steps and self._way.names[self._step] == name
        if not (scored or placed or self._given.known or (self._plain is not None and self._plain.known)):
            output = func(*args, **kwargs) if kwargs else func(*args)  # nothing to do with what is changed
        elif scored or placed:

            def run(*args: Any, **kwargs: Any) -> Any:
                return self._run(func, types, args, kwargs, scored, placed)

            output = beneath(name, run)(*args, **(kwargs or {}))
        else:
            output = self._run(func, types, args, kwargs or {}, False, False)
        if returns_tensors(func, output):
            self._advance(name)
        return output

    def leave(self) -> None:
        """Leave early what has nothing to do any more: each operation passes a mode at a price."""
        if self._over and not self._left and _get_current_function_mode() is self:
            self._left = True
            super().__exit__(None, None, None)

    def __exit__(self, *exception: Any) -> None:
        if not self._left:
            super().__exit__(*exception)

    def _run(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        scored: bool,
        placed: bool,
    ) -> Any:
        """What an operation returns, with all that is changed about it."""
        name = name_of(func)
        ranks = scored and name in RANKERS
        plain = None if self._plain is None else self._plain.prepare(name, args, kwargs, ranks)
        given = self._given.prepare(name, args, kwargs)
        output = self._scored(func, types, args, kwargs) if scored else func(*args, **kwargs)
        if self._plain is not None:
            self._plain.follow(func, plain, output)
        self._given.follow(func, given, output)
        if not placed or not returns_tensors(func, output):
            return output
        return self._at_place(output, args[0] if args else None)

    def _scored(self, func: Callable[..., Any], types: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """An operation that gives the score, or ranks it."""
        assert self._selection is not None
        assert self._plain is not None
        before: list[Any] = []

        def noted(*args: Any, **kwargs: Any) -> Any:
            before.append(func(*args, **kwargs))
            return before[-1]

        name = name_of(func)
        output = self._selection.take(name, noted, args, kwargs)
        if name in RANKERS:
            self.touched |= self._selection.reached
        elif output is not before[-1]:
            self.touched = True
            self._plain.add(output, before[-1].detach())
        return output

    def _at_place(self, output: Any, first: Any) -> Any:
        """The output of an operation at one of the places, with ids and weights changed."""
        way = self._way
        parts = [output] if isinstance(output, Tensor) else list(output)
        here = [place for place in way.places if place.step == self._step and place.part < len(parts)]
        if output is first:  # written in place, as will be what is changed
            self._given.keep(output)
            if self._plain is not None:
                self._plain.keep(output)
        for place in here:
            self._taken[place] = self._given.of(parts[place.part])
            if self._plain is not None:
                self._plains[place] = self._plain.of(parts[place.part])
        new: dict[int, Tensor] = {}
        if way.ids is not None and way.ids in here:
            new |= self._put_ids(way.ids.part, parts[way.ids.part])
        if len(self._taken) == len(way.places):
            new |= self._put_weights(parts)
        if not new:
            return output
        self.touched = True
        if output is first:  # the block goes on with the tensor that it has
            for tensor in new.values():
                output.copy_(tensor)
            return output
        for part, tensor in new.items():
            if self._plain is not None:
                self._plain.add(tensor, self._plain.of(parts[part]))
            self._given.add(tensor, self._given.of(parts[part]))
            parts[part] = tensor
        return parts[0] if isinstance(output, Tensor) else type(output)(parts)

    def _put_ids(self, part: int, value: Tensor) -> dict[int, Tensor]:
        ids = value.detach().reshape(self._rows, -1).long()
        wanted = self._rewriter.new_ids(ids)
        if wanted is ids:
            return {}
        return {part: self._way.as_ids(wanted, ids, value)}

    def _put_weights(self, parts: Sequence[Tensor]) -> dict[int, Tensor]:
        way, plain = self._way, None
        routing = way.read(self._taken, self._rows)
        if self._plain is not None:
            plain = way.read(self._plains, self._rows)
        wanted = self._rewriter.new_routing(routing, plain)
        self.came = True
        if wanted is routing or way.weights is None:
            return {}
        return {way.weights.part: way.as_weights(wanted, parts[way.weights.part])}

    def _advance(self, name: str) -> None:
        same = self._way.names[self._step] == name
        self._step += 1
        self._over = not same or self._step == len(self._way.names)
        if not same and self.touched:
            raise DeviatedError


def beneath(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
    """Return an operation that shows itself to every mode that is active, and does ``run`` below all of them."""

    def operation(*args: Any, **kwargs: Any) -> Any:
        if _get_current_function_mode() is not None:
            return handle_torch_function(operation, (), *args, **kwargs)
        return run(*args, **kwargs)

    operation.__name__ = name
    return operation
