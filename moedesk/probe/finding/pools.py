"""Blocks that see only some of the token rows of their stream: separate experts for text and for images."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pool:
    """Which rows a block sees.

    Attributes
    ----------
    argument : str
        Argument of the module that takes the tokens: (batch, length) numbers, zero for text.
    marked : bool
        Whether the block sees the rows where that is not zero, or the others.
    """

    argument: str
    marked: bool


POOLS = {
    ("Ernie4_5_VLMoeSparseMoeBlock", "text_moe"): Pool("moe_mm_token_type_ids", marked=False),
    ("Ernie4_5_VLMoeSparseMoeBlock", "vision_moe"): Pool("moe_mm_token_type_ids", marked=True),
}
"""By class of the block and its name in the module around it."""

ARGUMENTS = frozenset(pool.argument for pool in POOLS.values())
