"""Has compiled code step back while overrides act: it doesn't run what they put around the model's own."""

import weakref
from collections.abc import Callable
from typing import Any

from torch import nn

from moedesk.probe.taking.compiled import ever_compiled, forget_compiled_code, has_compiled, nothing, run_uncompiled


class SteppingBack:
    """Whether what is compiled runs as it is written, for one model; as long as that model lives.

    Parameters
    ----------
    model : Module

    Attributes
    ----------
    notes : tuple of str
        What to say of it.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = weakref.ref(model)
        self._compile_again: Callable[[], Any] = nothing
        self.notes: tuple[str, ...] = ()

    def step(self, acting: bool, acted: bool) -> None:
        """Have compiled code step back if something acts now, and come back if nothing does.

        Parameters
        ----------
        acted : bool
            Whether something acted until now.
        """
        if acted and self._compile_again is nothing:
            forget_compiled_code()  # which may have been made while something acted
        model = self._model()
        if not acting or model is None:
            self._compile_again()
            self._compile_again, self.notes = nothing, ()
        elif self._compile_again is nothing and ever_compiled():
            if has_compiled(model):
                self.notes = ("what is compiled runs as it is written while an override is on",)
            self._compile_again = weakref.finalize(model, run_uncompiled())
