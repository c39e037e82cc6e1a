"""Running a user's script with its models recorded."""

import sys
from pathlib import Path

import pytest
from torch import nn

import moedesk
from moedesk.core.errors import CaptureError, MoedeskError
from moedesk.core.resources import resource
from moedesk.probe.script import run_script

GENERATE = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer

def main():
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    inputs = tokenizer("def f(", return_tensors="pt")
    model.generate(**inputs, max_new_tokens=3, min_new_tokens=3, do_sample=False)

if __name__ == "__main__":
    main()
"""

TWO = """
from tests.support.families import build, some_ids
switch, dense = build("switch_transformers"), build("olmoe")
switch.generate(some_ids(2, 6), max_new_tokens=2, min_new_tokens=2)
dense(some_ids()), dense(some_ids())
"""


def script(folder: Path, text: str) -> str:
    path = folder / "script.py"
    path.write_text(text)
    return str(path)


def test_the_first_forward_is_recorded_with_its_tokens_and_their_text(tmp_path: Path) -> None:
    before = nn.Module.__call__, list(sys.argv), list(sys.path)
    code = run_script(script(tmp_path, GENERATE), [str(resource("sample", "tinymoe"))], tmp_path / "run.h5")
    assert code == 0
    assert (nn.Module.__call__, sys.argv, sys.path) == before
    with moedesk.open(tmp_path / "run.h5") as capture:
        assert [int(count) for count in capture.passes["n_tokens"][1:]] == [1, 1]
        first = int(capture.passes["n_tokens"][0])
        assert capture.text(0, first) == "def f("


def test_each_model_has_a_file_and_an_encoder_called_first_is_no_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_script(script(tmp_path, TWO), [], tmp_path / "run.h5", counts_only=True) == 0
    with moedesk.open(tmp_path / "run.h5") as one, moedesk.open(tmp_path / "run-2.h5") as two:
        assert one.model.class_name == "SwitchTransformersForConditionalGeneration"
        assert one.model.streams == ("decoder", "encoder")
        assert len(one.passes) == 3
        assert two.model.class_name == "OlmoeForCausalLM"
        assert len(two.passes) == 2
    assert "run-2.h5: 2 passes of OlmoeForCausalLM recorded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("sys.exit(3)", 3, ""),
        ("sys.exit('no luck')", 1, "no luck"),
        ("sys.exit()", 0, ""),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("raise KeyboardInterrupt", 130, ""),
    ],
)
def test_the_scripts_end_passes_through_and_the_capture_is_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], end: str, code: int, said: str
) -> None:
    text = f"import sys\nfrom tests.support.families import build, some_ids\nbuild('olmoe')(some_ids())\n{end}\n"
    assert run_script(script(tmp_path, text), [], tmp_path / "run.h5") == code
    error = capsys.readouterr().err
    assert said in error
    assert "runpy" not in error
    with moedesk.open(tmp_path / "run.h5") as capture:
        assert capture.complete
        assert len(capture.passes) == 1


def test_nothing_to_record_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "from torch import nn, zeros\nnn.Linear(2, 2)(zeros(1, 2))\n"
    assert run_script(script(tmp_path, text), [], tmp_path / "run.h5") == 2
    assert "called no model with Mixture-of-Experts layers" in capsys.readouterr().err
    assert not (tmp_path / "run.h5").exists()


def test_bad_paths_are_said_before_the_script_runs(tmp_path: Path) -> None:
    with pytest.raises(MoedeskError, match="no script"):
        run_script(str(tmp_path / "none.py"), [], tmp_path / "run.h5")
    with pytest.raises(CaptureError, match="no folder"):
        run_script(script(tmp_path, "1 / 0"), [], tmp_path / "none" / "run.h5")
