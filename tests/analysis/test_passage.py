"""Passages against the texts that were recorded, and against a plain walk over the rows."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from moedesk.analysis import passage as module
from moedesk.analysis.passage import token_passage
from moedesk.capture.open import open_capture
from moedesk.core.columns import SPAN, TOKEN, PassFlag, TokenKind
from moedesk.core.errors import MoedeskError
from moedesk.core.resources import resource
from moedesk.core.store import Store
from tests.support.memory_store import MemoryStore, memory_store


def walked(store: Store, row: int) -> tuple[list[int], int | None]:
    """The ids that a row's pass saw, found row by row; the next one."""
    tokens = store.read_tokens()
    token = tokens[row]
    seen: dict[int, tuple[int, bool]] = {}
    for other in tokens[: row + 1]:
        if other["sequence"] == token["sequence"] and other["column"] <= token["column"]:
            seen[int(other["column"])] = int(other["token_id"]), bool(other["is_padding"])
    after = [
        int(other["token_id"])
        for other in tokens[row + 1 :]
        if other["sequence"] == token["sequence"] and other["column"] == token["column"] + 1
    ]
    return [seen[column][0] for column in sorted(seen) if not seen[column][1]], after[-1] if after else None


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """A prompt of four with two of padding, one of six, then three decode steps of both; a few rows at a time."""
    monkeypatch.setattr(module, "BLOCK", 3)
    made = memory_store()
    rows = [(0, 0, column, column < 2) for column in range(4)] + [(0, 1, column, False) for column in range(6)]
    for step in range(3):
        rows += [(step + 1, 0, 4 + step, False), (step + 1, 1, 6 + step, False)]
    tokens = made.streams["main"]
    made.streams["main"] = tokens = np.zeros(len(rows), tokens.dtype)
    for row, (number, sequence, column, padding) in enumerate(rows):
        tokens[row] = (number, sequence, column, column, 100 + row, padding, 0)
    return made


def test_every_row_sees_what_ran_before_it(store: MemoryStore) -> None:
    for row in range(2, len(store.read_tokens())):
        found = token_passage(store, row)
        assert (found.ids.tolist(), found.next_id) == walked(store, row)
        assert found.ids[-1] == found.token["token_id"]
    assert token_passage(store, 10).ids.tolist() == [102, 103, 110]
    assert token_passage(store, 3).next_id == 110


def test_a_draft_that_was_rejected_is_not_seen_by_what_came_after(store: MemoryStore) -> None:
    tokens = store.streams["main"]
    tokens[12]["column"] = 4  # sequence 0 took its cache back, and ran slot 4 again
    tokens[14]["column"] = 5
    for row in (10, 12, 14):
        assert (token_passage(store, row).ids.tolist(), token_passage(store, row).next_id) == walked(store, row)
    assert token_passage(store, 14).ids.tolist() == [102, 103, 112, 114]


def test_tokens_that_are_not_there(store: MemoryStore) -> None:
    tokens = store.streams["main"]
    tokens[5]["sequence"] = 7
    with pytest.raises(MoedeskError, match="1 of the 5 tokens before this one were not recorded"):
        token_passage(store, 9)
    with pytest.raises(MoedeskError, match="were not recorded"):
        token_passage(store, 13, far=2)
    tokens[3]["token_id"] = -1
    with pytest.raises(MoedeskError, match="unknown"):
        token_passage(store, 10)
    tokens[10]["sequence"] = -1
    with pytest.raises(MoedeskError, match="not known"):
        token_passage(store, 10)


def test_padding_and_images_are_refused(store: MemoryStore) -> None:
    with pytest.raises(MoedeskError, match="this is padding"):
        token_passage(store, 1)
    store.streams["main"]["kind"][2] = TokenKind.IMAGE
    with pytest.raises(MoedeskError, match="no text"):
        token_passage(store, 10)
    assert len(token_passage(store, 9).ids) == 6, "the other sequence has no image"


@pytest.fixture(scope="module")
def sample() -> Iterator[Store]:
    with open_capture(resource("sample", "tinymoe.h5")) as store:
        yield store


def test_the_sample_capture(sample: Store) -> None:
    rng = np.random.default_rng(3)
    rows = rng.integers(0, min(sample.n_tokens(), 3000), 5).tolist()
    for row in rows:
        if sample.read_tokens(row, row + 1)[0]["is_padding"]:
            continue
        found = token_passage(sample, row)
        assert found.text == sample.token_text([found.ids[-1]])[0]
        tokens = sample.read_tokens(0, row + 1)
        mine = tokens[(tokens["sequence"] == found.token["sequence"]) & ~tokens["is_padding"]]
        assert found.ids.tolist() == mine["token_id"].tolist()


@pytest.fixture
def two_sided(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """Two texts read by an encoder, one with padding at its end, and written on in three passes; then one text more."""
    monkeypatch.setattr(module, "BLOCK", 3)
    made = memory_store(layers=2, passes=5)
    streams = [
        replace(layer, stream=name) for layer, name in zip(made.model.layers, ("encoder", "decoder"), strict=True)
    ]
    made.model = replace(made.model, layers=tuple(streams))
    read = [(0, 0, column) for column in range(4)] + [(0, 1, column) for column in range(4)]
    read += [(4, 2, column) for column in range(2)]
    written = [(number, sequence, number - 1) for number in (1, 2, 3) for sequence in (0, 1)]
    for name, rows, first_id in (("encoder", read, 100), ("decoder", written, 200)):
        tokens = np.zeros(len(rows), TOKEN)
        for row, (number, sequence, column) in enumerate(rows):
            tokens[row] = (number, sequence, column, column, first_id + row, first_id + row in (106, 107), 0)
        counts = np.bincount(tokens["pass"], minlength=5)
        made.streams[name], made.spans[name] = tokens, np.zeros(5, SPAN)
        made.spans[name]["first"], made.spans[name]["count"] = np.cumsum(counts) - counts, counts
    return made


def test_a_token_of_an_encoder_brings_those_behind_it(two_sided: MemoryStore) -> None:
    of_first, of_second = token_passage(two_sided, 1, "encoder"), token_passage(two_sided, 4, "encoder")
    assert of_first.after is not None
    assert of_second.after is not None
    assert (of_first.ids.tolist(), of_first.after.tolist(), of_first.source) == ([100, 101], [102, 103], None)
    assert (of_second.ids.tolist(), of_second.after.tolist()) == ([104], [105])
    last = token_passage(two_sided, 3, "encoder")
    assert last.after is not None
    assert last.after.tolist() == []


def test_a_token_of_a_decoder_brings_what_the_encoder_read(two_sided: MemoryStore) -> None:
    for row, ids, source in ((4, [200, 202, 204], [100, 101, 102, 103]), (3, [201, 203], [104, 105])):
        found = token_passage(two_sided, row, "decoder")
        assert found.source is not None
        assert (found.ids.tolist(), found.source.tolist(), found.after) == (ids, source, None)


def test_what_the_encoder_read_is_left_out_where_it_is_not_known_whole(two_sided: MemoryStore) -> None:
    assert token_passage(two_sided, 0, "decoder", far=1).source is None, "it is further back"
    two_sided.passes["flags"][0] = PassFlag.SAMPLED
    assert token_passage(two_sided, 4, "decoder").source is None
    two_sided.passes["flags"][0] = 0
    encoder = two_sided.streams["encoder"]
    encoder["token_id"][2] = -1
    assert token_passage(two_sided, 4, "decoder").source is None
    assert token_passage(two_sided, 3, "decoder").source is not None, "the other text is known"
    encoder["sequence"][5] = 9
    assert token_passage(two_sided, 3, "decoder").source is None, "a column is missing"
    two_sided.streams["decoder"]["sequence"] += 20
    assert token_passage(two_sided, 4, "decoder").source is None, "no row of the encoder has its number"
    assert token_passage(memory_store(), 26).source is None
