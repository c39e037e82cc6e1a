"""The two sides of an encoder-decoder model: names of their token streams, and what the encoder read of one sequence."""

import numpy as np

from moedesk.core.columns import TokenKind

ENCODER, DECODER = "encoder", "decoder"
"""Names of their token streams."""


def whole_text(rows: np.ndarray) -> np.ndarray | None:
    """Return the rows of a sequence in the order of their columns, padding left out; None if some are missing or no text.

    An encoder reads a sequence in one call, so what it read is whole if no column before the last one is missing.

    Parameters
    ----------
    rows : (n,) structured, dtype ``columns.TOKEN``
        Of one sequence in one pass.
    """
    ordered = rows[np.argsort(rows["column"], kind="stable")]
    if not np.array_equal(ordered["column"], np.arange(len(ordered))):
        return None
    read = ordered[~ordered["is_padding"]]
    known = (read["token_id"] >= 0) & (read["kind"] == TokenKind.TEXT)
    return read if len(read) and known.all() else None
