"""Token ids to the bytes they stand for: byte-level BPE, SentencePiece, byte fallback, special tokens."""

import re
from functools import cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from torch import nn

from moedesk.probe.notice import notice

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Vocabulary:
    """Gives the bytes of token ids; an id that the tokenizer doesn't have gets its number, as ``⟨17⟩``.

    Parameters
    ----------
    tokenizer : transformers tokenizer
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._size = len(tokenizer)
        self._special = set(tokenizer.all_special_ids) | set(getattr(tokenizer, "added_tokens_decoder", ()))
        self._warned = False
        self._byte_level = _is_byte_level(tokenizer)

    @classmethod
    def of(cls, tokenizer: Any, model: nn.Module) -> Self | None:
        """Return a tokenizer's vocabulary; None, with a warning, for what is no tokenizer."""
        if tokenizer is None:
            return None
        if not callable(getattr(tokenizer, "convert_ids_to_tokens", None)) or not hasattr(tokenizer, "all_special_ids"):
            notice(
                f"tokenizer= is a {type(tokenizer).__name__}, not a transformers tokenizer: token texts are left out"
            )
            return None
        return cls(tokenizer)

    def __call__(self, ids: npt.NDArray[np.int64]) -> list[bytes]:
        """Return the bytes of each id."""
        texts = []
        foreign = 0
        for token_id in ids.tolist():
            token = self._tokenizer.convert_ids_to_tokens(token_id) if 0 <= token_id < self._size else None
            foreign += token is None
            texts.append(f"⟨{token_id}⟩".encode() if token is None else self._bytes(token_id, token))
        if foreign and not self._warned:
            self._warned = True
            notice(
                f"the tokenizer doesn't fit the model: id {int(ids.max())} is outside its vocabulary of {self._size}; "
                "such tokens are shown by number"
            )
        return texts

    def _bytes(self, token_id: int, token: str | bytes) -> bytes:
        if isinstance(token, bytes):
            return token
        if token_id in self._special:
            return token.encode()
        if self._byte_level:
            table = _byte_of_character()
            return b"".join(bytes([table[c]]) if c in table else c.encode() for c in token)
        fallback = _BYTE.fullmatch(token)
        if fallback:
            return bytes([int(fallback[1], 16)])
        if token.startswith("##"):  # WordPiece continues a word
            return token[2:].encode()
        return token.replace("▁", " ").encode()


@cache
def _byte_of_character() -> dict[str, int]:
    """The reverse of GPT-2's map from bytes to printable characters (openai/gpt-2, encoder.py, ``bytes_to_unicode``)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in printable)
    return table | {chr(256 + place): byte for place, byte in enumerate(others)}


def _is_byte_level(tokenizer: Any) -> bool:
    """Whether tokens are written in GPT-2's alphabet: then a space is a token of its own or a prefix, as Ġ."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        parts = f"{backend.pre_tokenizer!r} {backend.decoder!r}"
        return "ByteLevel" in parts
    return hasattr(tokenizer, "byte_decoder")
