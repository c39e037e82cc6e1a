"""A token that ran, named by its sequence and column: what the model itself was given up to there."""

from typing import Any

import numpy as np
import pytest
import torch

from moedesk.core.errors import MoedeskError
from moedesk.probe.console import recent_tokens
from moedesk.probe.console.moe import Moe
from tests.support.console import Letters, own_moe
from tests.support.families import build, some_ids

pytestmark = pytest.mark.usefixtures("no_hook_stays")


@pytest.fixture(scope="module")
def olmoe() -> Any:
    return build("olmoe")


def test_prompts_padding_and_what_was_generated(olmoe: Any, capsys: pytest.CaptureFixture[str]) -> None:
    prompts, mask = some_ids().clone(), torch.ones_like(some_ids())
    mask[1, :3] = 0  # padded on the left
    with own_moe() as moe, torch.no_grad():
        moe.attach(olmoe, Letters())
        olmoe(some_ids(1))
        text = olmoe.generate(prompts, attention_mask=mask, max_new_tokens=4, do_sample=False, pad_token_id=0)
        whole = text.shape[1]
        for row, column in ((0, 0), (0, 5), (0, whole - 2), (1, 3), (1, whole - 3)):
            passage = moe._passage((1 + row, column), -1)
            first = 3 if row else 0
            np.testing.assert_array_equal(passage.ids, text[row, first : column + 1])
            after = text[row, column + 1] if column + 2 < whole else None  # the last one never ran
            assert passage.next_id == (None if after is None else int(after))
            assert (passage.sequence, passage.column) == (1 + row, column)
        said = capsys.readouterr().out.splitlines()[-1]
        letters = Letters().decode(text[1, 3 : whole - 3].numpy())
        assert said == f"sequence 2, column {whole - 3}: token {chr(96 + int(text[1, whole - 3]))!r} after {letters!r}"
        for token, words in {
            (1, whole): f"sequence 1 has columns 0 to {whole - 2}",
            (1, -1): "has columns 0 to",
            (3, 0): "no sequence 3; of this model 0 to 2 ran",
            (-1, 0): "no sequence -1",
            (2, 1): r"\(2, 1\) is padding",
        }.items():
            with pytest.raises(MoedeskError, match=words) as refused:
                moe._passage(token, -1)
            assert "\n" not in str(refused.value)


def test_it_explains_the_same_token_as_ids_do(olmoe: Any) -> None:
    ids = some_ids(1)[0].tolist()
    with own_moe() as moe:
        moe.attach(olmoe, Letters())
        with pytest.raises(MoedeskError, match="none ran yet"):
            moe.why((0, 5), layer=1)
        with torch.no_grad():
            olmoe(some_ids(1))
        why, same_why = moe.why((0, 5), layer=1), moe.why(ids, 1, 5)
        np.testing.assert_array_equal(why.contributions, same_why.contributions)
        found, same = moe.attribute(token=(0, 5), layer=1), moe.attribute(ids, 5, layer=1)
        np.testing.assert_array_equal(found.direct, same.direct)
        assert found.target_id == same.target_id == ids[6]
        routes, same_routes = (
            moe.counterfactual((0, 5), layers=0, runners=1, tries=1),
            moe.counterfactual(ids, 5, layers=0, runners=1, tries=1),
        )
        np.testing.assert_array_equal(routes.losses, same_routes.losses)
        with pytest.raises(MoedeskError, match=r"a row is known to the app alone; give \(sequence, column\)"):
            moe.why(5, layer=1)


def test_what_was_left_out_or_is_long_ago_is_refused(olmoe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(moe: Moe, token: tuple[int, int], words: str) -> None:
        with pytest.raises(MoedeskError, match=words):
            moe._passage(token, -1)

    monkeypatch.setattr(recent_tokens, "KEPT", some_ids(1).numel())
    with own_moe() as moe, torch.no_grad():
        moe.attach(olmoe, Letters())
        for _ in range(3):
            olmoe(some_ids(1))
        assert len(moe._passage((2, 3), -1).ids) == 4
        refused(moe, (0, 3), "no sequence 0; of this model 2 to 2 ran lately")
        olmoe(inputs_embeds=olmoe.model.embed_tokens(some_ids(1)))
        refused(moe, (3, 3), "their ids are unknown")
