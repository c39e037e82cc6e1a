"""What becomes of tests that fail when all run at once: pytest itself runs small suites that fail in known ways."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

FOLDER = Path(__file__).parents[2] / "packaging"
SUITE = """
import os, pytest
from pathlib import Path
FIRST = not Path("seen").exists()
Path("seen").touch()
"""
PASSES = "def test_passes(): pass\n"
FLICKERS = "@pytest.mark.parametrize('way', ['a::b [c/d] e'])\ndef test_flickers(way): assert not FIRST\n"
BROKEN = "def test_broken(): assert False\n"
RENAMED = "@pytest.mark.parametrize('way', [FIRST])\ndef test_renamed(way): assert not FIRST\n"
CRASHES = "def test_crashes():\n    if FIRST: os._exit(3)\n"
BOTH = "@pytest.fixture\ndef thing():\n    yield\n    assert not FIRST\ndef test_both(thing): assert not FIRST\n"
MANY = "@pytest.mark.parametrize('way', range(21))\ndef test_many(way): assert not FIRST\n"


class Outcome(NamedTuple):
    code: int
    summaries: list[str]  # the last line of each run
    said: list[str]


Run = Callable[..., Outcome]


@pytest.fixture
def outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a suite as ``packaging/test.py`` runs all tests."""
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        script = importlib.import_module("second_try")
        for name in ("second_try", "setup_environment"):
            del sys.modules[name]
    # Only pytest, and nothing of the run that this test is in.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"

    def run_suite(text: str, *options: str) -> Outcome:
        (tmp_path / "test_suite.py").write_text(SUITE + text, encoding="utf-8")
        result = Outcome(0, [], [])

        def run(command: list[str]) -> int:
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            result.summaries.append(done.stdout.splitlines()[-1])
            return done.returncode

        monkeypatch.setattr(script, "heading", result.said.append)
        pytest_command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(tmp_path)]
        return result._replace(code=script.run_tests(pytest_command, ["test_suite.py", *options], run))

    return run_suite


def test_what_passes_is_run_once(outcome: Run) -> None:
    code, summaries, said = outcome(PASSES)
    assert (code, len(summaries), said) == (0, 1, [])


def test_a_test_that_fails_only_beside_others_is_named_and_does_not_fail_the_run(
    outcome: Run,
) -> None:
    code, (first, second), said = outcome(PASSES + FLICKERS)
    assert code == 0
    assert "1 failed, 1 passed" in first
    assert "1 passed" in second
    assert "failed" not in second
    assert len(said) == 2
    assert all("test_suite.py::test_flickers[a::b [c/d] e]" in line for line in said)
    assert said[1].startswith("Passed alone, but failed before")


@pytest.mark.parametrize("suite", [BROKEN, PASSES + FLICKERS + BROKEN])
def test_a_test_that_fails_twice_fails_the_run(outcome: Run, suite: str) -> None:
    code, (_, second), said = outcome(suite)
    assert code == 1
    assert "1 failed" in second
    assert len(said) == 1


def test_a_failure_that_cannot_be_tried_again_stays_one(outcome: Run) -> None:
    code, summaries, said = outcome(PASSES + RENAMED)
    assert code not in (0, 5)
    assert len(summaries) == 2
    assert len(said) == 1


@pytest.mark.parametrize(("suite", "wanted"), [(MANY, 1), ("raise ValueError\n", 2), ("", 5)])
def test_many_failures_and_runs_that_did_not_come_to_an_end_are_not_tried_again(
    outcome: Run, suite: str, wanted: int
) -> None:
    code, summaries, said = outcome(suite)
    assert (code, len(summaries), said) == (wanted, 1, [])


def test_one_that_fails_at_its_end_too_is_one_test(outcome: Run) -> None:
    code, (first, _), _ = outcome(BOTH)
    assert code == 0
    assert "1 failed, 1 error" in first


@pytest.mark.parametrize("scheduler", ["load", "loadfile"])  # by file, the test that crashed is run anew and passes
def test_a_crash_stays_one(outcome: Run, scheduler: str) -> None:
    code, (summary,), said = outcome(PASSES + FLICKERS + CRASHES, "-p", "xdist.plugin", "-n", "1", "--dist", scheduler)
    assert (code, said) == (1, [])
    assert "2 failed" in summary
