"""The set-up scripts, with pip, apt-get and the environment's making replaced: what they decide, not what those do."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from moedesk.ui import display

FOLDER = Path(__file__).parents[2] / "packaging"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules of packaging/, forgotten afterwards."""
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("system_packages", "setup_environment", "run")
    modules = {}
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in names:
        modules[name] = importlib.import_module(name)
    monkeypatch.setattr(modules["setup_environment"], "heading", lambda text: None)
    yield modules
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def setup(scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """setup_environment over a copy of the requirement files; ``setup.ran`` collects the commands it would run."""
    module = scripts["setup_environment"]
    for name in ("requirements.txt", "requirements-test.txt"):
        shutil.copy(FOLDER / name, tmp_path / name)
    shutil.copy(FOLDER.parent / "pyproject.toml", tmp_path)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "ENVIRONMENT", tmp_path / ".venv")
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv" / "moedesk-setup.json")
    monkeypatch.setattr(module, "RUN_REQUIREMENTS", tmp_path / "requirements.txt")
    monkeypatch.setattr(module, "TEST_REQUIREMENTS", tmp_path / "requirements-test.txt")
    monkeypatch.setattr(module, "_has_pip", lambda python: True)  # the stand-in is no real environment
    module.ran = []

    def run_with_progress(title: str, command: list[str]) -> None:
        module.ran.append(" ".join(command))
        if "venv" in command:
            shutil.rmtree(tmp_path / ".venv", ignore_errors=True)
            module.environment_python().parent.mkdir(parents=True)
            module.environment_python().symlink_to(sys.executable)

    monkeypatch.setattr(module, "run_with_progress", run_with_progress)
    return module


def test_first_run_makes_the_environment_and_the_second_does_nothing(setup: ModuleType) -> None:
    python = setup.prepare()
    assert python.exists()
    made, dependencies, editable = setup.ran
    assert "-m venv" in made
    assert dependencies.endswith("requirements.txt")
    assert "--no-deps" in editable
    assert "--editable" in editable
    setup.ran.clear()
    assert setup.prepare() == python
    assert setup.ran == []


def test_tests_add_their_dependencies_and_no_more(setup: ModuleType) -> None:
    setup.prepare()
    setup.ran.clear()
    setup.prepare(tests=True)
    (command,) = setup.ran
    assert command.endswith("requirements-test.txt")
    setup.ran.clear()
    setup.prepare(tests=True)
    setup.prepare()
    assert setup.ran == []


@pytest.mark.parametrize("changed", ["requirements.txt", "pyproject.toml"])
def test_a_changed_file_installs_again_into_the_same_environment(setup: ModuleType, changed: str) -> None:
    setup.prepare()
    setup.ran.clear()
    with (setup.ROOT / changed).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    setup.prepare()
    assert [" -m venv " in command for command in setup.ran] == [False, False]


def test_an_install_that_fails_is_taken_up_again(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    works = setup.run_with_progress

    def fails(title: str, command: list[str]) -> None:
        works(title, command)
        if "--editable" in command:
            raise setup.SetupError("the network went away")

    monkeypatch.setattr(setup, "run_with_progress", fails)
    with pytest.raises(setup.SetupError):
        setup.prepare()
    monkeypatch.setattr(setup, "run_with_progress", works)
    setup.ran.clear()
    setup.prepare()
    assert len(setup.ran) == 2


def test_a_moved_checkout_makes_its_environment_anew(setup: ModuleType) -> None:
    setup.prepare()
    setup.STAMP.write_text(setup.STAMP.read_text().replace(str(setup.ROOT), "/elsewhere"))
    setup.ran.clear()
    setup.prepare()
    assert "-m venv" in setup.ran[0]
    assert len(setup.ran) == 3


def test_a_python_that_is_too_old_or_too_new_is_passed_over(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_version", lambda python: (3, 9))
    with pytest.raises(setup.SetupError, match=r"needs Python 3\.11, 3\.12 or 3\.13"):
        setup.find_python()


def test_a_shim_with_no_python_behind_it_is_passed_over(setup: ModuleType, tmp_path: Path) -> None:
    shim = tmp_path / "python3.13"
    shim.write_text("#!/bin/sh\necho not installed >&2\nexit 127\n")
    shim.chmod(0o755)
    assert setup._version(str(shim)) == ()
    assert setup._version(sys.executable) == sys.version_info[:2]


def test_missing_venv_says_the_one_command(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_can_make_environments", lambda python: False)
    monkeypatch.setattr(setup, "apt_install", lambda packages: False)
    with pytest.raises(setup.SetupError, match="can't make virtual environments") as error:
        setup.prepare()
    assert f"python{sys.version_info[0]}.{sys.version_info[1]}-venv" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_libraries_are_named_by_package(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = scripts["system_packages"]
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(system, "_loads", lambda library: library not in ("libEGL.so.1", "libxcb-cursor.so.0"))
    monkeypatch.setattr(system, "_has_font", lambda: True)
    assert system.missing_packages(window=False) == ["libegl1"]
    assert system.missing_packages(window=True) == ["libegl1", "libxcb-cursor0"]
    monkeypatch.setattr(system, "_has_font", lambda: False)
    assert system.missing_packages(window=False) == ["libegl1", "fonts-dejavu-core"]


def test_set_up_and_doctor_name_the_same_libraries(scripts: dict[str, ModuleType]) -> None:
    """The set-up runs on any Python and can't import moedesk, so each has its own list."""
    system = scripts["system_packages"]
    assert system.QT_LIBRARIES == display.NEEDED
    assert system.WINDOW_LIBRARIES == display.NEEDED_FOR_X11


def test_without_root_the_user_gets_the_command(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, system = scripts["run"], scripts["system_packages"]
    monkeypatch.setattr(run, "missing_packages", lambda window: ["libegl1"])
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    monkeypatch.setattr(system, "_is_debian", lambda: True)
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("nothing may be run"))
    with pytest.raises(scripts["setup_environment"].SetupError, match=r"sudo apt-get .*install -y libegl1"):
        run.install_libraries(window=False)


def test_a_real_command_that_fails_says_so(scripts: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]) -> None:
    setup = scripts["setup_environment"]
    with pytest.raises(setup.SetupError, match="exit code 3"):
        setup.run_with_progress("Trying", [sys.executable, "-c", "print('why'); raise SystemExit(3)"])
    assert "   why" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "window", "expected"),
    [
        ([], True, ["demo"]),
        (["--opengl=off"], True, ["demo", "--opengl=off"]),
        (["run.h5"], True, ["run.h5"]),
        (["doctor", "--json"], False, ["doctor", "--json"]),
    ],
)
def test_arguments_go_on_to_moedesk(
    scripts: dict[str, ModuleType], arguments: list[str], window: bool, expected: list[str]
) -> None:
    assert scripts["run"].moedesk_arguments(arguments, window) == expected


def test_without_a_display_the_demo_is_headless(scripts: dict[str, ModuleType]) -> None:
    run = scripts["run"]
    assert run.moedesk_arguments([], window=False) == ["demo", "--headless", str(run.HEADLESS_FOLDER)]
