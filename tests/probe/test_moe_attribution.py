"""``moe.attribute`` and ``moe.counterfactual``, and the tasks of the app that are the same."""

from typing import Any

import numpy as np
import pytest
from torch import nn

from moedesk.core.attribution import Attribution, Counterfactual
from moedesk.core.attribution_json import put_together, taken_apart
from moedesk.core.errors import MoedeskError
from moedesk.probe.console.loaded import Loaded
from moedesk.probe.console.moe import Moe
from moedesk.probe.finding.names import Names
from tests.support.families import some_ids

IDS = some_ids(1)[0].tolist()


@pytest.fixture
def moe(olmoe: nn.Module) -> Moe:
    made = Moe(Names({}), lambda: pytest.fail("no link is needed"))
    made._loaded = Loaded(olmoe, None)
    return made


def test_attribution_by_call_and_by_task(moe: Moe, capsys: pytest.CaptureFixture[str]) -> None:
    found = moe.attribute(IDS, index=5, layer=1, value="logprob")
    assert "attributing: done" in capsys.readouterr().out
    assert (found.token.index, found.target_id, found.layers.tolist()) == (5, IDS[6], [1])
    shares: list[float] = []
    routes = {"0": [found.experts[0].tolist(), [0.5, 0.5]], "1": [[6, 7], [0.5, 0.5]]}
    asked = {
        "passage": {"ids": IDS[:6], "next_id": IDS[6], "row": 17, "routes": routes},
        "layer": 1,
        "value": "logprob",
    }
    again = put_together(*moe.do_attribute(asked, lambda share, text: shares.append(share)))
    assert isinstance(again, Attribution)
    for name in ("experts", "weights", "norms", "direct", "gradient", "ablation", "component_direct", "attention"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert again.token.row == 17
    assert any("the token goes to other experts now than when it was captured" in note for note in again.notes)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_other_routes_by_call_and_by_task(moe: Moe) -> None:
    found = moe.counterfactual(IDS, layers=0, runners=2, tries=3)
    assert (found.token.index, found.next_id) == (len(IDS) - 2, IDS[-1])
    asked = {"passage": {"ids": IDS[:-1], "next_id": IDS[-1]}, "layers": [0], "runners": 2, "tries": 3}
    again = put_together(*moe.do_counterfactual(asked, lambda share, text: None))
    assert isinstance(again, Counterfactual)
    for name in ("layers", "experts", "weights", "losses", "own", "ranks", "whole_experts", "whole_losses"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    every = put_together(*moe.do_counterfactual({**asked, "layers": None}, lambda share, text: None))
    assert isinstance(every, Counterfactual)
    assert every.tried_layers.tolist() == [0, 1]
    assert repr(every).startswith("other routes of")


def test_overrides_and_what_is_attached_are_left_alone(moe: Moe) -> None:
    """An override acts again afterwards, and what is explained is the model without it."""
    plain = moe.attribute(IDS, method="ablation")
    with moe.ablate(0, int(plain.experts[0, 0])), moe.exclude(1, int(plain.experts[1, 0])):
        found = moe.attribute(IDS, method="ablation")
    np.testing.assert_array_equal(found.experts, plain.experts)
    np.testing.assert_allclose(found.ablation, plain.ablation, atol=1e-6)


def test_one_method_gives_its_own_sum(moe: Moe) -> None:
    direct, gradient = (moe.attribute(IDS, method=name) for name in ("direct", "gradient"))
    ablation, norm = (moe.attribute(IDS, method=name) for name in ("ablation", "norm"))
    assert [each.method for each in (direct, gradient, ablation, norm)] == ["direct", "gradient", "ablation", "norm"]
    assert direct.complete
    assert not gradient.complete
    assert ablation.explained == pytest.approx(ablation.ablation.sum())
    assert np.isnan(norm.explained)
    np.testing.assert_allclose(norm.norms, direct.norms, rtol=1e-6)
    for each in (direct, gradient, ablation, norm):
        value, arrays = taken_apart(each)
        assert isinstance(put_together(value, arrays), Attribution)
        assert each.title in repr(each)


@pytest.mark.parametrize("call", ["attribute", "counterfactual"])
def test_without_a_model_or_with_no_token(moe: Moe, call: str) -> None:
    with pytest.raises(MoedeskError, match="no model to explain"):
        getattr(Moe(Names({}), lambda: pytest.fail("no link is needed")), call)(IDS)
    with pytest.raises(MoedeskError, match="there is no tokenizer for a text"):
        getattr(moe, call)("some text")
    for place, words in ((17, r"known to the app alone; give \(sequence, column\)"), ((0, 5), "an attached model ran")):
        with pytest.raises(MoedeskError, match=words):
            getattr(moe, call)(place)
    with pytest.raises(MoedeskError, match="no token 40: there are 9"):
        getattr(moe, call)(IDS, 40)
    value: Any = {"passage": {}}
    with pytest.raises(MoedeskError, match="the app asked about a token in a way"):
        getattr(moe, f"do_{call}")(value, lambda share, text: None)
