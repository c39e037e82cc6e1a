"""Token ids to bytes, for the alphabets that tokenizers use."""

from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from moedesk.probe.taking.vocabulary import Vocabulary


def texts(tokenizer: Any, ids: list[int]) -> list[bytes]:
    return Vocabulary(tokenizer)(np.array(ids))


def test_byte_level_tokens_join_to_the_text(sample: tuple[Any, Any]) -> None:
    tokenizer = sample[1]
    text = "naïve 東京 🎉\r\n\tx = {'a': [1, 2]}  # ok\x00\x7f"
    ids = tokenizer(text).input_ids
    assert b"".join(texts(tokenizer, ids)) == text.encode()
    assert any(len(part) == 1 and part[0] > 127 for part in texts(tokenizer, ids)), "characters are split over tokens"


def test_special_tokens_are_their_text(sample: tuple[Any, Any]) -> None:
    tokenizer = sample[1]
    assert texts(tokenizer, [0, 1]) == [token.encode() for token in tokenizer.convert_ids_to_tokens([0, 1])]


@pytest.fixture
def sentencepiece() -> PreTrainedTokenizerFast:
    """As Llama's: pieces with ▁ for a space, bytes as <0xAB>."""
    pieces = ["<unk>", "<s>", "▁the", "re", "▁", "<0xE6>", "<0x9D>", "<0xB1>", "Ġ"]
    backend = Tokenizer(
        models.BPE({piece: i for i, piece in enumerate(pieces)}, [], byte_fallback=True, unk_token="<unk>")
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>")


def test_sentencepiece_and_byte_fallback(sentencepiece: PreTrainedTokenizerFast) -> None:
    expected = [b"<s>", b" the", b"re", b" ", b"\xe6", b"\x9d", b"\xb1", "Ġ".encode()]
    assert texts(sentencepiece, [1, 2, 3, 4, 5, 6, 7, 8]) == expected
    assert b"".join(expected[4:7]).decode() == "東"


def test_wordpiece() -> None:
    pieces = {"[UNK]": 0, "play": 1, "##ing": 2}
    backend = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
    assert texts(tokenizer, [1, 2, 0]) == [b"play", b"ing", b"[UNK]"]


def test_an_id_beyond_the_vocabulary_is_its_number(sentencepiece: PreTrainedTokenizerFast) -> None:
    with pytest.warns(UserWarning, match="id 40 is outside its vocabulary of 9"):
        assert texts(sentencepiece, [3, 40]) == [b"re", "⟨40⟩".encode()]
