"""Set moedesk up with its test dependencies and run every check; the exit code is 0 if all pass.

python3 packaging/test.py             everything, as CI does: the tests on up to four cores, a few that failed once more alone
python3 packaging/test.py -k filter   arguments go to pytest; the other checks run as well
python3 packaging/test.py --fast ...  pytest alone
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from second_try import run_tests
from setup_environment import ROOT, SetupError, heading, prepare
from system_packages import (
    apt_install,
    can_install,
    install_hint,
    missing_packages,
    missing_test_packages,
    qt_trouble,
)


def main(arguments: list[str]) -> int:
    """Set up, run the checks; return the exit code."""
    if arguments in (["-h"], ["--help"]):
        print(__doc__.strip())
        return 0
    try:
        install_libraries()
        python = prepare(tests=True)
        trouble = qt_trouble(python, window=False)
        if trouble:
            raise SetupError(f"Qt does not start: {trouble}")
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2
    others = [] if "--fast" in arguments else checks(python)
    chosen = [argument for argument in arguments if argument != "--fast"]
    pytest = [str(python), "-m", "pytest"]
    # Beside the tests, one after another: most of their time is mypy's, which keeps one core busy.
    with ThreadPoolExecutor(max_workers=1) as beside:
        started = {title: beside.submit(passes, title, command) for title, *command in others}
        heading(f"pytest {' '.join(chosen or at_once())}")
        code = run([*pytest, *chosen]) if chosen else run_tests(pytest, at_once(), run)
        failed = [title for title, check in started.items() if not check.result()]
    if failed:
        heading(f"Failed: {', '.join(failed)}; above is why")
    return code or (1 if failed else 0)


def install_libraries() -> None:
    """Install the system packages that the tests need; those for OpenGL are optional."""
    missing = missing_packages(window=False)
    optional = missing_test_packages()
    if can_install() and missing + optional:
        apt_install(missing + optional)
        missing, optional = missing_packages(window=False), missing_test_packages()
    if missing:
        raise SetupError(f"Qt lacks system libraries or a font. {install_hint(missing)}")
    if optional:
        heading(f"No virtual screen with OpenGL: the tests that need one are skipped. {install_hint(optional)}")


def checks(python: Path) -> list[tuple[str, ...]]:
    """Return title and command of each check but the tests."""
    tools = python.parent
    return [
        ("ruff format", str(tools / "ruff"), "format", "--check", "."),
        ("ruff check", str(tools / "ruff"), "check", "."),
        ("mypy", str(python), "-m", "mypy"),
        ("import contracts", str(tools / "lint-imports")),
    ]


def at_once() -> list[str]:
    """Return pytest's arguments for all tests: on several cores a file each at a time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # In the order of the folders: what takes long comes in the middle, and no worker waits for another at the end.
    parallel = ["-n", str(min(cores, 4)), "--dist", "loadfile", "--no-loadscope-reorder"] if cores > 1 else []
    return ["--durations=15", *parallel]


def passes(title: str, command: list[str]) -> bool:
    """Run one check; print, in one go, what it says and how long it took."""
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said = done.stdout.decode(errors="replace")
    how = "passed" if done.returncode == 0 else "FAILED"
    print(f"\n== {title}\n{said}   {title}: {how} in {time.monotonic() - started:.1f} s", flush=True)
    return done.returncode == 0


def run(command: list[str]) -> int:
    """Run tests in the checkout; return the exit code."""
    return subprocess.run(command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL).returncode


def environment() -> dict[str, str]:
    """Return the environment of all checks: no display, no network, and Python keeps what it compiled."""
    variables = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    # Without the last, each of the hundreds of processes that tests start would compile moedesk anew.
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "PYTHONDONTWRITEBYTECODE"):
        variables.pop(name, None)
    return variables


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
