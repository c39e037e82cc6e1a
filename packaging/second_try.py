"""A second try, alone, for the few tests that failed beside others: what fails twice is broken, what passes is named."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from setup_environment import heading

FEW = 20
"""More failures than this are no accident, and trying them again would only take time."""
TESTS_FAILED = 1  # pytest's exit code; others say that it did not get that far
CRASH = "crashed while running"  # what pytest-xdist has for a worker that is gone; the test may even have passed since


def run_tests(pytest: list[str], at_once: list[str], run: Callable[[list[str]], int]) -> int:
    """Run all tests, then once more those that failed if they are few; return the exit code of what was run last.

    A crash of the process that runs them is not tried again: no load does that.

    Parameters
    ----------
    pytest : list of str
        The command.
    at_once : list of str
        Its arguments for all tests, several at a time.
    run : callable
        Runs a command and returns its exit code.
    """
    with tempfile.TemporaryDirectory(prefix="moedesk-tests-") as name:
        folder = Path(name)
        report = folder / "report.xml"
        remember = ["-o", f"cache_dir={folder}"]
        code = run([*pytest, *at_once, *remember, f"--junitxml={report}"])
        failed = _last_failed(folder)
        if code != TESTS_FAILED or not 0 < len(failed) <= FEW or CRASH in report.read_text(encoding="utf-8"):
            return code
        heading(f"Failed beside other tests, tried once more alone: {', '.join(failed)}")
        code = run([*pytest, *failed, *remember])  # by name, so that one that is gone now is an error
        if code == 0:
            heading(f"Passed alone, but failed before, so mend what they take for granted: {', '.join(failed)}")
        return code


def _last_failed(folder: Path) -> list[str]:
    """Return the names of the tests that failed, as pytest keeps them for ``--last-failed``."""
    file = folder / "v" / "cache" / "lastfailed"
    return list(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else []
