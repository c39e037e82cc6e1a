"""The load of an expert, as the filter's ``load`` means it."""

import numpy as np
import numpy.typing as npt


def load_of(counts: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Return (…, E) loads for (…, E) slots per expert: count · E ÷ all slots, 1 being the fair share; NaN without slots."""
    total = counts.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        loads: npt.NDArray[np.float32] = (counts * (counts.shape[-1] / total)).astype(np.float32)
    return loads


def slot_loads(
    loads: npt.NDArray[np.float32], experts: npt.NDArray[np.signedinteger], passes: npt.NDArray[np.integer] | int = 0
) -> npt.NDArray[np.float32]:
    """Return (T, k) loads of the experts of (T, k) slots; NaN where there is no expert.

    Parameters
    ----------
    loads : (P, E)
    experts : (T, k)
    passes : (T,)
        Which row of ``loads`` each row of slots is in; left out where there is only one.
    """
    rows = np.broadcast_to(np.asarray(passes), len(experts))[:, None]
    return np.where(experts >= 0, loads[rows, np.maximum(experts, 0)], np.float32(np.nan))
