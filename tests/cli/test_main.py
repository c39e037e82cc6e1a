import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import moedesk
from moedesk.cli.info import as_json, as_text
from moedesk.cli.main import command_names, main
from moedesk.core.resources import resource
from tests.support.memory_store import memory_store, spare
from tests.support.until import PATIENCE


def moedesk_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, without a display."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    }
    return subprocess.run(
        [sys.executable, "-m", "moedesk", *arguments],
        capture_output=True,
        text=True,
        env=kept | environment,
        timeout=PATIENCE,
    )


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for name in command_names():
        assert f"\n  {name} " in text
    assert {"demo", "record", "info", "screenshot", "doctor"} <= set(command_names())


@pytest.mark.parametrize("name", command_names())
def test_every_command_has_a_help_page(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert f"moedesk {name}" in capsys.readouterr().out


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom moedesk.cli.main import main\n"
        "try:\n main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'PySide6','numpy','h5py','torch'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"moedesk {moedesk.__version__}"


def test_info_as_json_agrees_with_the_models_own_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    path = resource("sample", "tinymoe.h5")
    config = json.loads(resource("sample", "tinymoe", "config.json").read_text())
    assert main(["info", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"format", "complete", "model", "passes", "tokens", "layers"} <= set(facts)
    assert (facts["format"], facts["complete"]) == (1, True)
    assert len(facts["layers"]) == config["num_hidden_layers"]
    for place, layer in enumerate(facts["layers"]):
        assert layer == {
            "path": f"model.layers.{place}.mlp",
            "experts": config["num_experts"],
            "top_k": config["num_experts_per_tok"],
        }


def test_info_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(resource("sample", "tinymoe.h5"))]) == 0
    text = capsys.readouterr().out
    assert "complete" in text
    assert "model.layers.5.mlp  16 experts, top-2" in text


def test_info_says_how_many_passes_have_no_margins() -> None:
    store = memory_store(passes=10)
    assert as_json(store)["spared"] == 0
    assert "spared" not in as_text(store)
    spare(store, (2, 7))
    assert as_json(store)["spared"] == 2
    assert "  spared     2 of 10 passes came too fast for entropies and margins" in as_text(store)


@pytest.mark.parametrize("content", [None, b"", b"no capture at all", b"\x89HDF\r\n\x1a\n truncated"])
def test_unreadable_input_is_one_line_and_exit_code_2(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "run.h5"
    if content is not None:
        path.write_bytes(content)
    done = moedesk_command("info", str(path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "run.h5" in done.stderr


def test_wrong_use_is_exit_code_2() -> None:
    assert moedesk_command("info").returncode == 2
    assert moedesk_command("--opengl", "maybe").returncode == 2


def test_without_a_display_the_window_says_what_to_do() -> None:
    done = moedesk_command("run.h5")
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert "DISPLAY is not set" in lines[0]
    assert "moedesk screenshot" in lines[0]


def test_a_display_that_does_not_answer_is_said(tmp_path: Path) -> None:
    done = moedesk_command("run.h5", DISPLAY=":4711")
    assert done.returncode == 2
    assert ":4711" in done.stderr


def test_a_file_named_like_a_command_opens_with_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[list[str]] = []
    monkeypatch.setattr("moedesk.cli.window.open_window", lambda files, options: opened.append(files) or 0)
    assert main(["./info", "b.h5"]) == 0
    assert opened == [["./info", "b.h5"]]


def test_doctor_as_json() -> None:
    done = moedesk_command("doctor", "--json")
    facts = json.loads(done.stdout)
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["problems"] == []
    assert done.returncode == 0
    assert facts["packages"]["h5py"]
    assert facts["hdf5"].count(".") == 2
    assert facts["drawing"].startswith("raster")
