"""Set-up shared by run.py and test.py: a virtual environment with pinned dependencies. Standard library only."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from system_packages import apt_install, install_hint

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
STAMP = ENVIRONMENT / "moedesk-setup.json"
SUPPORTED = ((3, 11), (3, 12), (3, 13))
RUN_REQUIREMENTS = FOLDER / "requirements.txt"
TEST_REQUIREMENTS = FOLDER / "requirements-test.txt"


class SetupError(Exception):
    """What stands in the way and what to do about it, in one line."""


def heading(text: str) -> None:
    """Print what comes next."""
    print(f"== {text}", flush=True)


def prepare(tests: bool = False) -> Path:
    """Make the environment if it isn't there or is out of date, and return its Python.

    A second call with nothing changed reads one small file and needs no network.
    """
    wanted = _wanted(tests)
    if _stale(wanted) == set() and environment_python().exists():
        return environment_python()
    started = time.monotonic()
    _make_environment()
    stale = _stale(wanted)  # all of it, if the environment was made anew
    python = environment_python()
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar", "off"]
    if tests:  # of 15,000 files most are never imported, and processes of tests compile several of the others at once
        pip.append("--no-compile")
    if "run" in stale:
        title = "Installing pinned dependencies (a few minutes the first time)"
        run_with_progress(title, [*pip, "-r", str(RUN_REQUIREMENTS)])
        editable = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
        run_with_progress("Installing moedesk from this checkout", [*pip, *editable])
    if "test" in stale:
        run_with_progress("Installing test dependencies", [*pip, "-r", str(TEST_REQUIREMENTS)])
    STAMP.write_text(json.dumps({**_stamp(), **wanted}, indent=1) + "\n", encoding="utf-8")
    heading(f"Ready in {time.monotonic() - started:.0f} s: {ENVIRONMENT}")
    return python


def environment_python() -> Path:
    """Return where the environment's Python is or will be."""
    return ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run_with_progress(title: str, command: list[str]) -> None:
    """Run a command under a heading, its lines indented, with a sign of life after each 10 s of silence.

    Raises
    ------
    SetupError
        If it fails; its own lines have said why.
    """
    heading(title)
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    spoke = [time.monotonic()]
    finished = threading.Event()

    def show_life() -> None:
        while not finished.wait(1):
            if time.monotonic() - spoke[0] > 10:
                spoke[0] = time.monotonic()
                print(f"   … still at it, {spoke[0] - started:.0f} s", flush=True)

    watcher = threading.Thread(target=show_life, daemon=True)
    watcher.start()
    try:
        with process:
            for line in process.stdout or ():
                spoke[0] = time.monotonic()
                if not line.startswith("Requirement already satisfied"):
                    print(f"   {line.rstrip()[:200]}", flush=True)
    except BaseException:
        process.terminate()
        raise
    finally:
        finished.set()
        watcher.join()
    code = process.returncode
    if code != 0:
        raise SetupError(
            f"{title}: failed with exit code {code}; the lines above say why. Run the same command to go on."
        )


def _wanted(tests: bool) -> dict[str, str]:
    """Return what the stamp must say: where the checkout lies, and a hash for each part."""
    wanted = {"root": str(ROOT), "run": _digest(RUN_REQUIREMENTS, ROOT / "pyproject.toml")}
    if tests:
        wanted["test"] = _digest(TEST_REQUIREMENTS)
    return wanted


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def _stale(wanted: dict[str, str]) -> set[str]:
    stamp = _stamp()
    return {part for part, value in wanted.items() if stamp.get(part) != value}


def _stamp() -> dict[str, str]:
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _make_environment() -> None:
    """Make an empty environment unless a working one of a supported Python is there."""
    if environment_python().exists():
        # The scripts of an environment name its folder, so that it can't be moved with the checkout.
        moved = _stamp().get("root", str(ROOT)) != str(ROOT)
        if not moved and _version(str(environment_python())) in SUPPORTED and _has_pip(environment_python()):
            return
        heading(f"{ENVIRONMENT} {'was moved' if moved else 'does not work any more'}; making it anew")
    python = find_python()
    if not _can_make_environments(python):
        _install_venv_package(python)
    command = [python, "-m", "venv", "--clear", str(ENVIRONMENT)]
    run_with_progress(f"Making {ENVIRONMENT} with {python}", command)


def find_python() -> str:
    """Return a Python that moedesk runs on, this one if it will do.

    Raises
    ------
    SetupError
        If there is none.
    """
    candidates = [sys.executable] + [f"python{major}.{minor}" for major, minor in reversed(SUPPORTED)]
    for candidate in candidates:
        found = shutil.which(candidate)
        if found and _version(found) in SUPPORTED:
            return found
    have = ".".join(map(str, sys.version_info[:2]))
    raise SetupError(
        f"moedesk needs Python 3.11, 3.12 or 3.13, and this is {have}. Install one of them, then run this again."
    )


def _version(python: str) -> tuple[int, ...]:
    # Asked by running it: a shim can be on the path with no Python behind it.
    code = "import sys; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(map(int, answer.stdout.split())) if answer.returncode == 0 else ()


def _has_pip(python: Path) -> bool:
    return subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True).returncode == 0


def _can_make_environments(python: str) -> bool:
    return subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0


def _install_venv_package(python: str) -> None:
    package = f"python{'.'.join(map(str, _version(python)))}-venv"
    if not apt_install([package]) or not _can_make_environments(python):
        raise SetupError(f"{python} can't make virtual environments. {install_hint([package])}")
