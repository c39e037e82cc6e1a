"""``moedesk label``: what it writes, what metrics then tell apart, and wrong use."""

import json
import shutil
from pathlib import Path

import pytest

import moedesk
from moedesk.cli.main import main
from moedesk.core.label import Label
from moedesk.core.resources import resource


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return Path(shutil.copyfile(resource("sample", "tinymoe.h5"), tmp_path / "run.h5"))


def test_passes_tokens_a_file_and_back(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", str(capture), "first", "--passes", "0:3,5", "--list"]) == 0
    assert main(["label", str(capture), "head", "--tokens", ":100"]) == 0
    (tmp_path / "more.csv").write_text("name,first,last\nend,120,129\n")
    assert main(["label", str(capture), "--from", str(tmp_path / "more.csv")]) == 0
    assert main(["label", str(capture), "--remove", "python"]) == 0
    with moedesk.open(capture) as opened:
        names = {label.name for label in opened.recorded_labels} - {"python"}
        later = (Label("first", 0, 3), Label("first", 5, 6), Label("head", 0, 100, "main"), Label("end", 120, 129))
        assert opened.labels == (*(one for one in opened.recorded_labels if one.name in names), *later)
        report = opened.metrics(by="domain", keys=["cv"])
        assert next(one.tokens for one in report.layers if one.group == "head") == 100
    capsys.readouterr()
    assert main(["info", str(capture), "--json"]) == 0
    labels = json.loads(capsys.readouterr().out)["labels"]
    assert {"name": "head", "stream": "main", "first": 0, "last": 100} in labels
    assert main(["info", str(capture)]) == 0
    assert "first: 4 passes" in capsys.readouterr().out


def test_a_recorded_label_comes_back_with_the_file_gone(capture: Path) -> None:
    assert main(["label", str(capture), "--remove", "python"]) == 0
    capture.with_name("run.h5.labels.json").unlink()
    with moedesk.open(capture) as opened:
        assert "python" in {label.name for label in opened.labels}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "say one of"),
        (["x"], "belong together"),
        (["--passes", "0:1"], "say one of"),
        (["x", "--passes", "0:1000"], "has 129 passes"),
        (["x", "--passes", "7:3"], "from 7 to 3"),
        (["x", "--passes", "a"], "no range"),
        (["x", "--tokens", "0:3", "--stream", "encoder"], "no stream"),
        (["--remove", "fortran"], "no label 'fortran'"),
        (["--from", "nowhere.json"], "can't be read"),
        (["x", "--passes", "0:1", "--list", "--remove", "c"], "say one of"),
        (["two\nlines", "--passes", "0:1"], "one line"),
    ],
)
def test_wrong_use_is_one_line(
    capture: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["label", str(capture), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not capture.with_name("run.h5.labels.json").exists()
