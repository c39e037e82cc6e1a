"""``moedesk doctor``: what this installation is made of, and what it lacks."""

import argparse
import json
import os
import sys
from dataclasses import replace
from typing import Any

NAME = "doctor"
HELP = "say what this installation is made of and what it lacks, or test that a model is captured exactly"
PACKAGES = (
    "PySide6-Essentials", "pyqtgraph", "PyOpenGL", "numpy", "h5py", "platformdirs", "qtconsole", "ipykernel",
    "torch", "transformers", "safetensors",
)  # fmt: skip
TIMEOUT = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--model",
        metavar="PATH",
        help="run the exactness self-test on a model: a folder (random weights if it holds a configuration only), "
        "the name of one in the Hugging Face cache, or sample",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; 1 if something is missing that moedesk needs, or a model's self-test failed."""
    if arguments.model is not None:
        return _examine_model(arguments.model, arguments.json)
    facts = examine()
    print(json.dumps(facts, indent=1) if arguments.json else as_text(facts))
    return 1 if facts["problems"] else 0


def _examine_model(name: str, as_json: bool) -> int:
    """Load a model and print what its self-test found: 0 nothing wrong, 1 if it failed."""
    from moedesk.core.verification import Verdict
    from moedesk.core.verification_text import as_text as table
    from moedesk.probe.exactness.verify import verify
    from moedesk.probe.load import load_or_make

    model, tokenizer, note = load_or_make(name)
    found = verify(model, tokenizer)
    if note:
        found = replace(found, notes=(note, *found.notes))
    print(json.dumps(found.to_json(), indent=1, ensure_ascii=False) if as_json else table(found))
    return 1 if found.verdict is Verdict.FAILED else 0


def examine() -> dict[str, Any]:
    """Return the facts about this installation as JSON values; torch is looked for, not imported."""
    import platform
    from importlib.util import find_spec

    import moedesk
    from moedesk.session.settings import config_dir, log_dir
    from moedesk.ui.display import display_problem

    facts: dict[str, Any] = {
        "moedesk": moedesk.__version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "torch_found": find_spec("torch") is not None,
        "hdf5": _hdf5(),
        "display": display_problem() or "a window can be opened",
        "settings": str(config_dir()),
        "log": str(log_dir()),
    }
    problems = _missing()
    facts.update(_ask_qt(problems))
    problems += [
        f"package {name} is missing; install moedesk again" for name, found in facts["packages"].items() if not found
    ]
    facts["problems"] = problems
    return facts


def as_text(facts: dict[str, Any]) -> str:
    """Return the facts as lines to read."""
    renderer = facts["opengl"]
    drawn = renderer.get("error") or " · ".join(renderer.get(key, "") for key in ("vendor", "renderer", "version"))
    rows = [
        ("moedesk", facts["moedesk"]),
        ("Python", f"{facts['python']} ({facts['executable']})"),
        ("system", facts["system"]),
        ("Qt", facts["qt"] or "can't be loaded"),
        ("OpenGL", drawn),
        ("plots draw in", facts["drawing"]),
        ("display", facts["display"]),
        ("fonts", facts["fonts"]),
        ("HDF5", facts["hdf5"] or "can't be loaded"),
        ("torch", "found" if facts["torch_found"] else "not found: captures open, but nothing can be recorded here"),
        ("settings", facts["settings"]),
        ("log", facts["log"]),
        *(("", f"{name} {found or 'missing'}") for name, found in facts["packages"].items()),
    ]
    lines = [f"{name:<14} {value}" for name, value in rows]
    lines += [f"PROBLEM        {problem}" for problem in facts["problems"]] or ["Nothing is missing."]
    return "\n".join(lines)


def _missing() -> list[str]:
    from moedesk.ui.display import install_command, missing_packages

    needed = missing_packages(window=bool(os.environ.get("DISPLAY")))
    return [f"system libraries are missing; install them with: {install_command(needed)}"] if needed else []


def _ask_qt(problems: list[str]) -> dict[str, Any]:
    """Ask Qt in child processes: a broken library or driver takes only those down."""
    facts: dict[str, Any] = {"qt": None, "fonts": "unknown", "opengl": {"error": "not asked"}, "drawing": "raster"}
    code = (
        "import json; from PySide6.QtCore import qVersion; from PySide6.QtGui import QGuiApplication, QFontDatabase;"
        "app = QGuiApplication(['moedesk', '-platform', 'offscreen']);"
        "print(json.dumps([qVersion(), len(QFontDatabase.families())]))"
    )
    status, output, errors = _child(["-c", code])
    try:
        facts["qt"], families = json.loads(output.splitlines()[-1])
    except (ValueError, IndexError):
        problems.append(
            f"Qt doesn't start: {errors.strip().splitlines()[-1] if errors.strip() else f'exit code {status}'}"
        )
        return facts
    facts["fonts"] = f"{families} families"
    if not families:
        problems.append("there is no font; install one with: apt-get install fonts-dejavu-core")
    facts["opengl"], facts["drawing"] = _ask_opengl()
    return facts


def _ask_opengl() -> tuple[dict[str, str], str]:
    from moedesk.ui.display import display_problem

    if display_problem():
        return {"error": "no display to draw on"}, "raster"
    from moedesk.ui.opengl import judge, parse

    _, output, _ = _child(["-m", "moedesk.ui.opengl_probe"])
    answer = parse(output)
    return answer, judge("auto", answer).text


def _child(arguments: list[str]) -> tuple[int, str, str]:
    import subprocess

    try:
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return -1, "", f"no answer within {TIMEOUT} s"
    return done.returncode, done.stdout, done.stderr


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _hdf5() -> str | None:
    status, output, _ = _child(["-c", "import h5py; print(h5py.version.hdf5_version)"])
    return output.strip() if status == 0 else None
