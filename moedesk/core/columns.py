"""The columns of passes, tokens and routes: dtypes, phases and flags. Time is integer nanoseconds."""

from enum import IntEnum, IntFlag

import numpy as np


class Phase(IntEnum):
    """What a forward pass was for."""

    PREFILL = 0
    DECODE = 1
    TRAIN = 2
    EVAL = 3

    @property
    def label(self) -> str:
        """Lower-case name, as shown and as typed in a filter."""
        return self.name.lower()


class PassFlag(IntFlag):
    """What is special about a pass."""

    COUNTS_ONLY = 1  # counts are exact, but ids, weights and tokens were not kept
    FAILED = 2  # the forward raised; layers after that point are absent
    TOKENS_UNKNOWN = 4  # token ids could not be attributed (inputs_embeds, packed rows)
    REWOUND = 8  # the KV cache went back: earlier rows of its sequences from column ``past`` on were drafts that were rejected
    SAMPLED = 16  # rows of a sample of its tokens were kept; counts are of all
    LATE = 32  # rows of an earlier pass, kept by a reservoir until the end; its counts are with that pass
    SPARED = 64  # entropy, margin and logits were not worked out, though they could have been: the model ran too fast


class TokenKind(IntEnum):
    """What a token row stands for."""

    TEXT = 0
    IMAGE = 1
    AUDIO = 2


class RouteFlag(IntFlag):
    """What is special about one token at one layer."""

    DROPPED = (
        1  # a slot lost its expert to the capacity limit (its id is -1); where experts choose: none chose this token
    )
    OVERRIDDEN = 2  # an override changed the choice
    ABSENT = 4  # the layer did not see this token
    NONFINITE = 8  # a weight or a logit is NaN or infinite


PASS = np.dtype(
    [
        ("id", "<i8"),
        ("phase", "u1"),
        ("flags", "u1"),
        ("rank", "<i4"),
        ("step", "<i8"),  # training step, -1 outside training
        ("t0_ns", "<i8"),  # wall clock at the start of the forward
        ("t1_ns", "<i8"),  # t0_ns + time taken, by a monotonic clock
        ("first_token", "<i8"),  # first row in the tokens of the main stream
        ("n_tokens", "<i8"),  # rows kept in the main stream; 0 if counts only
        ("n_seen", "<i8"),  # token rows the forward worked on, all streams, padding included
        ("n_padding", "<i8"),  # how many of these are padding
        ("batch", "<i4"),  # sequences in the batch
        ("past", "<i8"),  # tokens in the KV cache before the forward
    ]
)
"""One forward pass of the whole model."""

TOKEN = np.dtype(
    [
        ("pass", "<i4"),
        ("sequence", "<i4"),  # numbered through the capture; a decode step continues its prompt's sequence
        ("position", "<i4"),  # as the model counts it (position ids); -1 unknown
        ("column", "<i4"),  # slot in the sequence: cached tokens + place in this pass
        ("token_id", "<i4"),  # -1 unknown
        ("is_padding", "?"),
        ("kind", "u1"),
    ]
)
"""One token row of one pass."""

SPAN = np.dtype([("first", "<i8"), ("count", "<i8")])
"""The token rows of one pass within a stream."""


LABEL = np.dtype(
    [
        ("name", "S64"),  # UTF-8; empty: from here on none
        ("stream", "S16"),  # empty: first and last are passes, else token rows of that stream
        ("first", "<i8"),
        ("last", "<i8"),  # end excluded; -1: until the next row of passes whose last is -1
    ]
)
"""What passes or token rows are, such as the domain of a text."""

ACTED = np.dtype(
    [
        ("override", "<i4"),  # its number, in the order in which they first acted
        ("first", "<i8"),  # passes on which it acted
        (
            "last",
            "<i8",
        ),  # end excluded; -1: until a later row with the same override and first says it, else all that follow
    ]
)
"""On which passes an override acted."""

STEP = np.dtype(
    [
        ("step", "<i8"),  # its number: as the passes' headers and, with a Trainer, its log have it
        ("first_pass", "<i8"),  # its recorded passes first_pass … last_pass, end excluded
        ("last_pass", "<i8"),
        ("t_ns", "<i8"),  # wall clock when it ended
        ("loss", "<f8"),  # NaN where unknown, as all that follow
        ("aux_loss", "<f8"),
        ("learning_rate", "<f8"),
        ("grad_norm", "<f8"),  # of the whole model, before clipping, if a Trainer said it
        ("epoch", "<f8"),
    ]
)
"""One training step: what an optimizer did after one or several passes."""


def as_bytes(rows: np.ndarray) -> np.ndarray:
    """Return rows as NumPy copies them fast: those of a structured dtype as so many bytes each, which copies them whole.

    Field by field, as it does otherwise, takes it twenty times as long.
    """
    return rows.view(np.dtype((np.void, rows.itemsize))) if rows.dtype.names else rows


def expert_dtype(experts: int) -> np.dtype:
    """Return the smallest signed dtype that holds expert numbers 0…experts-1 and -1."""
    return np.dtype("i1") if experts <= 127 else np.dtype("<i2") if experts <= 32767 else np.dtype("<i4")
