"""What a live model says about its own recording: what ran, what was left out, what it cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Counters:
    """Counts since a model was attached; each only grows, except ``queued_bytes``.

    With several apps connected, each pass counts as with the one that got least of it.

    Attributes
    ----------
    passes : int
        Forward passes that ran while recording was on.
    spared : int
        Passes that were sent without entropy and margin (and logits, if they were wanted), because these took too long.
    shed : int
        Passes of which only the counts were sent, because the queue was above its high-water mark.
    dropped : int
        Passes of which nothing was sent, because the queue was full or no app was connected.
    dropped_tokens : int
        Token rows, all streams, of passes shed or dropped.
    queued_bytes : int
        What waits to be sent.
    hook_ns : int
        Time the model's thread spent in hooks, in nanoseconds.
    pass_ns : int
        Time the passes took, hooks included.
    """

    passes: int = 0
    spared: int = 0
    shed: int = 0
    dropped: int = 0
    dropped_tokens: int = 0
    queued_bytes: int = 0
    hook_ns: int = 0
    pass_ns: int = 0
