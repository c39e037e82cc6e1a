"""What an adapter is: where a kind of MoE block keeps its routing, and how it is read there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Literal

import torch
from torch import Tensor, nn

from moedesk.core.errors import MoedeskError

Selection = Literal["token choice", "expert choice", "soft", "hash", "given"]
"""Who picks: a token its experts, an expert its tokens, nobody (all experts, by weight), a table of token ids, the caller."""

ABSENT = -2
"""Id in every slot of a row that the layer did not see; -1 is a slot that was dropped, or that expert choice left unused."""


@dataclass(frozen=True, eq=False)
class Routing:
    """Which experts every token row went to in one call of a block, and with which weights.

    Attributes
    ----------
    ids : (N, k) or (batch, length, k) int tensor
        Expert ids in slot order; -1 where a slot was dropped, ``ABSENT`` in a row that the layer did not see.
    weights : float tensor of the same shape
        Gate weights as they are applied.
    logits : (N, E) or (batch, length, E) float tensor, optional
        What the router computed before it chose; for entropy and margin.
    """

    ids: Tensor
    weights: Tensor
    logits: Tensor | None = None


Read = Callable[[Any, tuple[Any, ...], Mapping[str, Any], Any], Routing | tuple[Tensor, ...] | None]
"""Takes the hooked module, its arguments, and what it returned (None before its call); returns its routing, or None if this call
has none."""

Write = Callable[[Any, tuple[Any, ...], Mapping[str, Any], Any, Routing], Any]
"""Takes the same and the routing that is wanted; returns new ``(args, kwargs)`` before the call, or the new output after it."""

Select = Callable[[Any, tuple[Any, ...], Mapping[str, Any], Any, Callable[[Tensor], Tensor]], Routing]
"""Takes the hooked module, its arguments, its output, and a function that makes other (N, E) logits of its logits; returns the
routing that it would choose with those."""

RunExpert = Callable[[Any, int, Tensor], Tensor]
"""Takes the block, an expert's number and (N, H) rows for it; returns its (N, H) output without a gate weight."""

Weighs = Literal["outputs", "inputs"]
"""Whether a gate weight multiplies what an expert returns, or what it receives."""

Number = int | Callable[[Any], int | None] | None
"""A number, or a function that takes the block and returns it; None if it is found out."""


@dataclass(frozen=True)
class Adapter:
    """Says for which blocks it is and how their routing is read; see ``moedesk.adapter``.

    Attributes
    ----------
    name : str
        Shown, and kept in captures as ``LayerInfo.adapter``.
    targets : tuple of str, type or function
        Which modules are its blocks: class names (of a base class too), path patterns (a text with a dot or a star; ``*`` stands
        for one part of the path, ``**`` for any number), classes, or functions that take the module and say so.
    read : function, optional
        See ``Read``; if left out, the routing is found by its shapes in what the hooked module, the router, returns.
    hook : str
        Path, below the block, of the module whose call is read; empty for the block itself.
    logits : str
        Path, below the block, of a module whose latest output are the logits, where ``read`` doesn't return them.
    when : {"after", "before"}
        Whether it is read after that call or before it.
    router, experts : str
        Paths of these modules below the block, as far as it has them.
    write : function, optional
        Changes the routing of a call on its way in (``when="before"``) or out; see ``Write``.
    select : function, optional
        Chooses anew, for overrides of the score where no module below the block goes from logits to the choice; see ``Select``.
        With ``when="after"``, a ``write``, and its ranking of all experts in one operation (``topk``, ``max``, …).
    run_expert : function, optional
        Runs one expert alone; see ``RunExpert``. Without it, one of the modules in ``experts`` is called, if there are as many.
    weighs : {"outputs", "inputs"}
        What a gate weight multiplies: what an expert returns, or what it receives.
    n_experts, shared, identity : int or function, optional
        Number of routed experts, of shared experts, and of experts (the last ones) that return their input; if left out, what
        logits, modules and configuration say.
    top_k : int or function, optional
        Slots a token; if left out, what the first call shows.
    selection : str
    score : str, optional
        What the router ranks by; if left out, found out by watching it.
    stream : str, optional
        Token stream of the layer; if left out, by its path.
    post_scale : float or function
        Factor that is applied after the experts, or a function that takes the block and returns it; NaN if it isn't known.
    note : str
        What has to be known of such a layer; said in every capture that has one.
    refused : str
        Why such a block can't be read, and what to do; a model that has one is then not attached.
    """

    name: str
    targets: tuple[str | type | Callable[[nn.Module], bool], ...]
    read: Read | None = None
    hook: str = ""
    when: Literal["before", "after"] = "after"
    logits: str = ""
    router: str = ""
    experts: str = ""
    write: Write | None = None
    select: Select | None = None
    run_expert: RunExpert | None = None
    weighs: Weighs = "outputs"
    n_experts: Number = None
    shared: Number = None
    identity: Number = None
    top_k: Number = None
    selection: Selection = "token choice"
    score: str | None = None
    stream: str | None = None
    post_scale: float | Callable[[Any], float] = nan
    note: str = ""
    refused: str = ""

    def matches(self, path: str, module: nn.Module) -> bool:
        """Return whether a module is one of its blocks."""
        return any(_is_target(target, path, module) for target in self.targets)

    def module(self, block: nn.Module, part: str) -> nn.Module:
        """Return the module at a path below a block.

        Raises
        ------
        MoedeskError
            If there is none; it says what there is.
        """
        found: Any = block
        for name in filter(None, part.split(".")):
            found = found._modules.get(name)
            if found is None:
                children = ", ".join(name for name, _ in block.named_children()) or "no modules"
                raise MoedeskError(
                    f"adapter {self.name!r}: {type(block).__name__} has no module {part!r}; it has {children}"
                )
        assert isinstance(found, nn.Module)
        return found

    def check(self, block: nn.Module) -> None:
        """Raise ``MoedeskError`` if a module that the adapter names is not in the block."""
        for part in (self.hook, self.logits, self.router, self.experts):
            self.module(block, part)

    def routing(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, graph: bool = False
    ) -> Routing | None:
        """Return the routing of a call, its ids (N, k), weights (N, k) and logits (N, E), not copied.

        Weights have no gradients, unless ``graph`` is asked for, by who writes what it makes of them.

        Raises
        ------
        MoedeskError
            If the adapter's ``read`` raises or returns something else; in one line.
        """
        assert self.read is not None
        try:
            with torch.set_grad_enabled(graph and torch.is_grad_enabled()):  # else checkpointing misses what it saves
                given = self.read(module, args, kwargs, output)
        except Exception as error:
            raise MoedeskError(f"its read() raised {type(error).__name__}: {_line(error)}") from error
        if given is None:
            return None
        if isinstance(given, tuple):
            if len(given) not in (2, 3):
                raise MoedeskError(
                    f"its read() returned {len(given)} values instead of ids, weights and perhaps logits"
                )
            given = Routing(*given)
        return flat(given, graph)


def flat(routing: Routing, graph: bool = False) -> Routing:
    """Return a routing with one row a token, or raise ``MoedeskError`` that says what does not fit."""
    if not isinstance(routing, Routing):
        raise MoedeskError(f"its read() returned {type(routing).__name__} instead of a moedesk.Routing")
    ids, weights, logits = routing.ids, routing.weights, routing.logits
    for name, value in (("ids", ids), ("weights", weights)):
        if not isinstance(value, Tensor):
            raise MoedeskError(f"its {name} are {type(value).__name__} instead of a tensor")
    if ids.is_floating_point() or ids.is_complex() or ids.dtype is torch.bool:
        raise MoedeskError(f"its ids are {_name(ids.dtype)} instead of integers")
    if not weights.is_floating_point():
        raise MoedeskError(f"its weights are {_name(weights.dtype)} instead of floats")
    if ids.ndim == 1 and ids.shape == weights.shape:
        ids, weights = ids.unsqueeze(-1), weights.unsqueeze(-1)
    if ids.shape != weights.shape or ids.ndim < 2:
        raise MoedeskError(
            f"its ids {tuple(ids.shape)} and weights {tuple(weights.shape)} don't have the same shape (tokens, k)"
        )
    weights = weights if graph else weights.detach()
    ids, weights = ids.detach().reshape(-1, ids.shape[-1]), weights.reshape(-1, ids.shape[-1])
    if logits is not None:
        if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.ndim < 2:
            raise MoedeskError("its logits are no float tensor of shape (tokens, experts)")
        logits = logits.detach().reshape(-1, logits.shape[-1])
        if logits.shape[0] != ids.shape[0]:
            raise MoedeskError(f"its logits have {logits.shape[0]} rows, its ids {ids.shape[0]}")
    return Routing(ids, weights, logits)


def resolve(number: Number, block: nn.Module) -> int | None:
    """Return a number that may be a function of the block."""
    return number(block) if callable(number) else number


def is_pattern(target: str) -> bool:
    """Whether a text is a pattern for module paths, and no class name."""
    return "." in target or "*" in target


def _is_target(target: str | type | Callable[[nn.Module], bool], path: str, module: nn.Module) -> bool:
    if isinstance(target, type):
        return isinstance(module, target)
    if isinstance(target, str):
        if is_pattern(target):
            return _fits(target.split("."), path.split("."))
        return any(kind.__name__ == target for kind in type(module).__mro__)
    return target(module)


def _fits(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _fits(pattern[1:], parts) or _fits(pattern, parts[1:])
    return pattern[0] in ("*", parts[0]) and _fits(pattern[1:], parts[1:])


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
