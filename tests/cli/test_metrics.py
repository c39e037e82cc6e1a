"""``moedesk metrics`` and ``cap.metrics()`` on the sample capture, against its own counts."""

import csv
import io
import json

import numpy as np
import pytest

import moedesk
from moedesk.cli.main import main
from moedesk.core.resources import resource

SAMPLE = str(resource("sample", "tinymoe.h5"))


def test_json_of_the_sample(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", SAMPLE, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    with moedesk.open(SAMPLE) as capture:
        assert report == capture.metrics().to_json()
        for place, layer in enumerate(report["layers"]):
            counts = capture.counts(place)
            assert layer["path"] == capture.model.layers[place].path
            assert layer["metrics"]["cv"]["value"] == pytest.approx(counts.std() / counts.mean(), abs=1e-12)
            padding = capture.read_tokens()["is_padding"]
            assert layer["tokens"] == np.count_nonzero(~padding)


def test_csv_of_some_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", SAMPLE, "--csv", "--keys", "gini,z_loss"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["metric"] for row in rows] == ["gini", "z_loss"] * 6
    assert float(rows[0]["value"]) < 1
    assert rows[1]["value"] == ""
    assert "logits" in rows[1]["convention"]


def test_a_table_to_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", SAMPLE]) == 0
    text = capsys.readouterr().out
    assert "entropy_normalized" in text
    assert main(["metrics", "--list"]) == 0
    assert "population standard deviation" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["metrics"], "name a capture"),
        (["metrics", SAMPLE, "--keys", "speed"], "no metric 'speed'"),
    ],
)
def test_bad_use_is_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
