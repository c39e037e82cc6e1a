"""Python's own pauses, which would hold up the window."""

import gc
import sys

SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread must give the interpreter's lock away: a tenth of what is usual."""


def share_lock() -> None:
    """Let the GUI's thread have the interpreter's lock soon, which the link's, the writer's and the workers' threads want too."""
    sys.setswitchinterval(SWITCH_INTERVAL)


def spare_loaded() -> None:
    """Leave what is loaded out of garbage collection: to look through all of it takes 50 ms and more, in which no thread runs.

    What of it becomes garbage is not found any more, so this is for the start, when next to nothing but modules is there.
    """
    gc.freeze()
