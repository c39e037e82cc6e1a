"""Rows of drafts that were rejected: assisted generation routes them, then takes its cache back."""

import numpy as np

from moedesk.core.columns import PassFlag


def rejected_drafts(passes: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Return which token rows a later pass took back.

    Rows that were drafted last and rejected when generation ended are not known as such: nothing came after them.

    Parameters
    ----------
    passes : (P,) array of ``columns.PASS``
        In order; ``tokens["pass"]`` are places in it.
    tokens : (T,) array of ``columns.TOKEN``
        Rows of one stream.

    Returns
    -------
    (T,) bool array
    """
    rejected = np.zeros(len(tokens), bool)
    for number in np.flatnonzero(passes["flags"] & PassFlag.REWOUND):
        again = np.unique(tokens["sequence"][tokens["pass"] == number])
        earlier = (tokens["pass"] < number) & (tokens["column"] >= passes["past"][number])
        rejected |= earlier & np.isin(tokens["sequence"], again)
    return rejected
