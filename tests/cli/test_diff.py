"""``moedesk diff`` on the sample captures, which hold the same texts run through two models."""

import json

import pytest

from moedesk.cli.main import main
from moedesk.core.resources import resource

A, B = (str(resource("sample", f"{name}.h5")) for name in ("tinymoe", "tinymoe-sick"))


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", A, B, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "logic"
    assert found["tokens_aligned"] > 10_000
    assert set(found["first_divergent"]) == {layer["path"] for layer in found["layers"]}


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", A, A]) == 0
    assert "tinymoe.h5 → tinymoe.h5: same" in capsys.readouterr().out
    assert main(["diff", A, B]) == 0
    assert "where to look, the first place first" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("flips>0.01", 1),
        ("flips>0.999", 0),
        ("flips>0.999,logic", 1),
        ("token-flips>=0.5", 1),
        ("weights > 1e-3", 1),
        ("noise", 1),
    ],
)
def test_conditions(condition: str, code: int) -> None:
    assert main(["diff", A, B, "--fail-on", condition]) == code
    assert main(["diff", A, A, "--fail-on", condition]) == 0


@pytest.mark.parametrize("condition", ["flips", "flips<0.1", "flips>x", "speed>1", "same"])
def test_a_bad_condition_is_named(condition: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", A, B, "--fail-on", condition]) == 2
    assert "isn't a condition" in capsys.readouterr().err
    assert main(["diff", A, B, "--precision", "float7"]) == 2
