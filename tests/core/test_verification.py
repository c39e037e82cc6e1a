"""What a self-test found, and its way through JSON."""

import json
from math import isnan, nan
from typing import Any

import pytest

from moedesk.core.verification import NEEDED, Check, CheckName, LayerVerification, Verdict, Verification


def layer(path: str = "a", **changed: Verdict) -> LayerVerification:
    """A verified layer, some of whose checks came to something else."""
    verdicts = dict.fromkeys([*NEEDED, CheckName.BLOCK], Verdict.VERIFIED)
    verdicts |= {CheckName[name]: verdict for name, verdict in changed.items()}
    return LayerVerification(
        path, f"{path}.experts", tuple(Check(name, v, f"why {name}", 1e-7, 2e-6) for name, v in verdicts.items())
    )


OUTPUTS = Check(CheckName.OUTPUTS, Verdict.VERIFIED, "same bits")


def test_a_layer_is_verified_if_what_is_needed_was_and_nothing_failed() -> None:
    assert layer().verdict is Verdict.VERIFIED
    assert layer(BLOCK=Verdict.NOT_CHECKED).verdict is Verdict.VERIFIED
    assert layer(REPLAY=Verdict.NOT_CHECKED).verdict is Verdict.NOT_CHECKED
    assert layer(REPLAY=Verdict.NOT_CHECKED).reason == "replay: why replay"
    assert layer(BLOCK=Verdict.FAILED).verdict is Verdict.FAILED
    assert layer(REPLAY=Verdict.NOT_CHECKED, BLOCK=Verdict.FAILED).reason == "block output: why block output"
    assert LayerVerification("a").verdict is Verdict.NOT_CHECKED


def test_the_whole() -> None:
    good = Verification("M", checks=(OUTPUTS,), layers=(layer("a"), layer("b")))
    assert (good.verdict, good.summary) == (Verdict.VERIFIED, "verified 2 of 2 layers")
    partly = Verification("M", checks=(OUTPUTS,), layers=(layer("a"), layer("b", COUNTS=Verdict.NOT_CHECKED)))
    assert (partly.verdict, partly.summary) == (Verdict.NOT_CHECKED, "verified 1 of 2 layers")
    wrong = Verification("M", checks=(OUTPUTS,), layers=(layer("a"), layer("b", REPLAY=Verdict.FAILED)))
    assert (wrong.verdict, wrong.summary) == (Verdict.FAILED, "FAILED in 1 of 2 layers · b: replay: why replay")
    apart = Check(CheckName.OUTPUTS, Verdict.FAILED, "logits differ")
    assert Verification("M", checks=(apart,), layers=(layer(),)).summary.startswith("FAILED · outputs: logits differ")
    assert Verification("M").verdict is Verdict.NOT_CHECKED


def test_two_layers_of_one_block_are_told_apart() -> None:
    two = LayerVerification("a", "a.one"), LayerVerification("a", "a.two")
    found = Verification("M", layers=two)
    assert found.layer("a", "a.two") is two[1]
    assert found.layer("a") is two[0]
    assert found.layer("b") is None


def test_round_trip() -> None:
    checks = (OUTPUTS, Check("x", Verdict.FAILED, "ü", float("inf"), 0.0))
    found = Verification("M", "2026-11-23T01:00:00+00:00", "2 rows", 1.5, checks, (layer("a"),), ("a note",))
    text = json.dumps(found.to_json(), allow_nan=False)
    again = Verification.from_json(json.loads(text))
    assert again == found
    assert isnan(again.checks[0].error)
    assert again.checks[0].error is nan  # the one nan, so that it equals what was written


@pytest.mark.parametrize(
    "values",
    [None, 3, [], "x", {}, {"model": 3}, {"model": "M", "layers": [3]}, {"model": "M", "layers": [{"path": "a"}]},
     {"model": "M", "checks": [{"name": "a", "verdict": "great"}]}, {"model": "M", "seconds": "x"}],
)  # fmt: skip
def test_what_is_no_verification(values: Any) -> None:
    assert Verification.from_json(values) is None


def test_what_this_version_does_not_know_is_left_out() -> None:
    values = Verification("M", layers=(layer("a"),)).to_json()
    values["news"] = values["layers"][0]["news"] = values["layers"][0]["checks"][0]["news"] = 1
    assert Verification.from_json(values) == Verification("M", layers=(layer("a"),))
