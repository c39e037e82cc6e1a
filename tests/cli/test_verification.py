"""``moedesk doctor --model`` and what ``moedesk info`` says of a self-test."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from moedesk.capture.writer import CaptureWriter
from moedesk.cli.main import main
from moedesk.core.model import ModelInfo
from moedesk.core.resources import resource
from moedesk.core.verification import Check, Verdict, Verification
from moedesk.probe.exactness import verify as self_test


def test_the_sample(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--model", "sample"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("OlmoeForCausalLM: verified 6 of 6 layers\n")
    assert "with hooks every output has the same bits as without" in said


def test_a_configuration_without_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(resource("sample", "tinymoe", "config.json"), tmp_path)
    assert main(["doctor", "--model", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"] == "verified"
    assert said["notes"] == ["the folder holds no weights: the model was made with random ones"]
    assert {layer["checks"][0]["name"] for layer in said["layers"]} == {"captured"}


def test_a_failure_is_an_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = Verification("M", checks=(Check("outputs", Verdict.FAILED, "logits differ"),))
    monkeypatch.setattr(self_test, "verify", lambda *_: found)
    assert main(["doctor", "--model", "sample"]) == 1
    assert "✗ outputs" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "{", '{"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 1}'])
def test_what_cannot_be_tested(tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    if content is not None:
        folder.mkdir()
        (folder / "config.json").write_text(content)
    assert main(["doctor", "--model", str(folder)]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.count("\n") == 1


def test_info(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = Verification("M", "2026-11-23T01:00:00+00:00", checks=(Check("outputs", Verdict.FAILED, "logits differ"),))
    said: list[Any] = []
    for verification in (None, found):
        with CaptureWriter(tmp_path / "a.h5") as writer:
            writer.describe(ModelInfo("m", "M", verification=verification))
        for option in ([], ["--json"]):
            assert main(["info", str(tmp_path / "a.h5"), *option]) == 0
            said.append(capsys.readouterr().out)
    assert "self-test  never run on this model" in said[0]
    assert json.loads(said[1])["verification"] is None
    assert "self-test  FAILED · outputs: logits differ" in said[2]
    assert Verification.from_json(json.loads(said[3])["verification"]) == found
