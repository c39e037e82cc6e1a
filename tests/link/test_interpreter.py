"""What an interpreter has, and the command that cures what it lacks."""

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import moedesk
from moedesk.link.interpreter import examine, known_interpreters
from moedesk.link.protocol import PROTOCOL
from tests.support.kernels import bare_python, python_with_moedesk, script


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder without a moedesk: Python imports from there first."""
    monkeypatch.chdir(tmp_path)


def test_this_interpreter_has_all() -> None:
    found = examine(sys.executable)
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert (found.ipykernel, found.torch) == (version("ipykernel"), version("torch"))
    assert (found.moedesk, found.protocol) == (moedesk.__version__, PROTOCOL)
    assert found.problems == ()
    assert found.runs_kernels


def test_a_bare_interpreter_names_the_command(tmp_path: Path) -> None:
    python = bare_python(tmp_path)
    found = examine(python)
    cure = f"{python} -m pip install ipykernel moedesk=={moedesk.__version__}"
    assert found.problems == (f"No ipykernel and no moedesk: {cure}",)
    assert not found.runs_kernels


@pytest.mark.parametrize("protocol", [None, 0])
def test_an_old_moedesk_names_the_command(tmp_path: Path, protocol: int | None) -> None:
    python = python_with_moedesk(tmp_path, "0.0.1", protocol)
    found = examine(python)
    assert found.problems == (f"moedesk 0.0.1 is too old: {python} -m pip install -U moedesk=={moedesk.__version__}",)
    assert found.runs_kernels  # a console without routing


def test_a_newer_moedesk_names_the_command_for_the_app(tmp_path: Path) -> None:
    (problem,) = examine(python_with_moedesk(tmp_path, "9.0", PROTOCOL + 1)).problems
    assert problem == f"moedesk 9.0 is too new for this app: {sys.executable} -m pip install -U moedesk==9.0"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("rubbish", "echo hello", "is no Python"),
        ("fails", "exit 3", "is no Python"),
        ("none", None, "can't be started"),
    ],
)
def test_what_is_no_interpreter_is_told(tmp_path: Path, name: str, text: str | None, says: str) -> None:
    path = script(tmp_path / name, text) if text is not None else str(tmp_path / name)
    found = examine(path)
    assert says in found.problems[0]
    assert "\n" not in found.problems[0]
    assert not found.runs_kernels


def test_known_interpreters_come_once_and_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    other = script(environment / "bin" / "python", "exit 0")
    monkeypatch.setenv("VIRTUAL_ENV", str(environment))
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "gone"))
    monkeypatch.setenv("PATH", str(environment / "bin"))
    known = known_interpreters([sys.executable, str(tmp_path / "removed"), other])
    assert known == (sys.executable, other)
