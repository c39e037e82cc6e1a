"""Several processes that run one model together: which of them this is, and whether another one sees the same routing."""

from torch import distributed


def rank() -> int:
    """Return the number of this process in its group; 0 if it is alone."""
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
