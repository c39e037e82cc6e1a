"""A function around the forward of one module: inside its hooks, so that all of them see what it returns."""

from collections.abc import Callable
from typing import Any

from torch import nn

from moedesk.probe.taking.compiled import apart

Around = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""Takes the forward that was there, and the arguments of a call; returns the output."""


class ForwardAround:
    """Puts ``around`` in the place of a module's forward until it is removed.

    Where something else was put around it meanwhile, that can't be taken out of the middle: the function then only passes on.
    """

    def __init__(self, module: nn.Module, around: Around) -> None:
        self._module = module
        self._replaced = vars(module).get("forward")
        inner, over = module.forward, [False]

        def forward(*args: Any, **kwargs: Any) -> Any:
            return inner(*args, **kwargs) if over[0] else around(inner, args, kwargs)

        apart(forward)
        forward.__wrapped__ = inner  # type: ignore[attr-defined]  # who asks for its arguments gets the model's own
        forward.replaced = self._replaced  # type: ignore[attr-defined]
        forward.over = over  # type: ignore[attr-defined]
        self._over, self._forward = over, forward
        vars(module)["forward"] = forward

    def remove(self) -> None:
        """Leave the module as it was."""
        self._over[0] = True
        if vars(self._module).get("forward") is not self._forward:
            return
        below = self._replaced
        while below is not None and getattr(below, "over", [False])[0]:  # removed before, when this was around it
            below = below.replaced
        if below is None:
            del vars(self._module)["forward"]
        else:
            vars(self._module)["forward"] = below
