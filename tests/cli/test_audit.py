"""``moedesk audit`` as a user and as a script see it."""

import json

import pytest

from moedesk.cli.main import main
from moedesk.core.resources import resource

SICK, HEALTHY = str(resource("sample", "tinymoe-sick.h5")), str(resource("sample", "tinymoe.h5"))


def test_text_names_what_is_sick(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", SICK]) == 0
    text = capsys.readouterr().out
    for line in (
        "Expert 1.3 got no token",
        "Expert 1.11 got no token",
        "expert 5 (model.layers.3.mlp)",
        "router of layer 5",
    ):
        assert line in text
    assert max(map(len, text.splitlines())) <= 100


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", SICK, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert 0 <= report["score"] < 100
    assert [finding["severity"] for finding in report["findings"]].count("info") == len(report["findings"]) - 4
    assert report["categories"]["numbers"] == 100


@pytest.mark.parametrize(
    ("path", "severity", "code"),
    [(SICK, "error", 1), (SICK, "warning", 1), (HEALTHY, "warning", 0), (HEALTHY, "error", 0)],
)
def test_exit_codes(path: str, severity: str, code: int) -> None:
    assert main(["audit", path, "--fail-on", severity]) == code


def test_an_unreadable_file_is_one_line(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.h5").write_text("no capture")
    assert main(["audit", str(tmp_path / "x.h5")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
