"""The tokens that ran last, so that one can be named by its sequence and column."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from moedesk.core.columns import TOKEN, TokenKind
from moedesk.core.errors import MoedeskError
from moedesk.core.sides import DECODER, ENCODER, whole_text
from moedesk.probe.explaining.passage import Passage, text_of

KEPT = 1 << 18
"""Token rows that are remembered."""
_NO_ROWS = np.zeros(0, TOKEN)


class RecentTokens:
    """Token rows of the last passes of a model, by stream: the arrays themselves, which nobody changes any more."""

    def __init__(self) -> None:
        self._passes: deque[Mapping[str, np.ndarray]] = deque()
        self._rows = 0
        self._left_out = False

    def take(self, tokens: Mapping[str, np.ndarray]) -> None:
        """Take those of one pass."""
        self._passes.append(tokens)
        self._rows += _rows(tokens)
        while self._rows > KEPT and len(self._passes) > 1:
            self._rows -= _rows(self._passes.popleft())
            self._left_out = True

    def passage(self, sequence: int, column: int, stream: str, tokenizer: Any) -> Passage:
        """Return the passage up to a token; of a column that ran more than once, what ran last counts.

        With what its encoder read, where there is one and it is known.

        Parameters
        ----------
        sequence : int
            As recordings number them, from 0 with the first since the model was attached.
        column : int
            Slot in the sequence, padding included, from 0.
        stream : str
        tokenizer : transformers tokenizer or None

        Raises
        ------
        MoedeskError
            If it did not run lately, is padding, or tokens before it are not known.
        """
        passes = [tokens[stream] for tokens in self._passes if stream in tokens]
        rows = np.concatenate([each[each["sequence"] == sequence] for each in passes]) if passes else np.zeros(0, TOKEN)
        where = f"({sequence}, {column})"
        if sequence < 0 or not len(rows):
            ran = {int(number) for each in passes for number in np.unique(each["sequence"]) if number >= 0}
            range_ = f"{min(ran)} to {max(ran)} ran" + (" lately" if self._left_out else "") if ran else "none ran yet"
            raise MoedeskError(f"no token {where}: there is no sequence {sequence}; of this model {range_}")
        last = int(rows["column"].max())
        if not 0 <= column <= last:
            raise MoedeskError(f"no token {where}: sequence {sequence} has columns 0 to {last}")
        slots = np.zeros(last + 1, rows.dtype)
        known = np.zeros(last + 1, bool)
        slots[rows["column"]], known[rows["column"]] = rows, True
        if slots["is_padding"][column] and known[column]:
            raise MoedeskError(
                f"{where} is padding, which the model's answer does not depend on; choose a token of the text"
            )
        if not known[: column + 1].all():
            raise MoedeskError(f"tokens up to {where} were not recorded, so the model can't be run on them")
        seen = slots[: column + 1][~slots["is_padding"][: column + 1]]
        if (seen["token_id"] < 0).any() or (seen["kind"] != TokenKind.TEXT).any():
            raise MoedeskError(f"tokens up to {where} are no text, or their ids are unknown; give token ids")
        ids = seen["token_id"].astype(np.int64)
        following = column < last and known[column + 1] and slots["token_id"][column + 1] >= 0
        read = self._read_by_encoder(sequence)
        return Passage(
            ids,
            int(slots["token_id"][column + 1]) if following else None,
            text_of(tokenizer, int(ids[-1])),
            stream,
            sequence=sequence,
            column=column,
            after=_ids(read[read["column"] > column]) if read is not None and stream == ENCODER else None,
            source=_ids(read) if read is not None and stream == DECODER else None,
        )

    def _read_by_encoder(self, sequence: int) -> np.ndarray | None:
        """The rows that the encoder read last of a sequence, without padding; None if they are not known."""
        for tokens in reversed(self._passes):
            rows = tokens.get(ENCODER, _NO_ROWS)
            mine = rows[rows["sequence"] == sequence]
            if len(mine):
                return whole_text(mine)
        return None


def _ids(rows: np.ndarray) -> np.ndarray:
    return rows["token_id"].astype(np.int64)


def _rows(tokens: Mapping[str, np.ndarray]) -> int:
    return sum(len(rows) for rows in tokens.values())
