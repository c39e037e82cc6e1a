"""Torch function modes around a block that runs: what several that watch it do with one another."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.overrides import _get_current_function_mode, _pop_mode, _push_mode, handle_torch_function


@contextmanager
def alone() -> Iterator[None]:
    """Take every mode off in the block: what runs there is no operation of what is watched, and may have modes of its own.

    Those that were ended meanwhile, and say so (``ended``), don't come back.
    """
    away = []
    while _get_current_function_mode() is not None:
        away.append(_pop_mode())
    try:
        yield
    finally:
        for mode in reversed(away):
            if not getattr(mode, "ended", False):
                _push_mode(mode)


def begin_anew() -> None:
    """Tell what watches the operations of a block that the call under way begins anew: what was seen of it counts no more."""
    if _get_current_function_mode() is not None:
        handle_torch_function(begin_anew, ())
