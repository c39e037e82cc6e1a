"""How long things take to start, warm: ``import moedesk``, ``moedesk --help``, the app until its first picture of a capture.

python tests/benchmarks/bench_start.py [FILE] [--runs N]

The app draws on the display there is; without one, off screen. Run it under ``xvfb-run`` for a true window.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from moedesk.core.resources import resource


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=resource("sample", "tinymoe.h5"))
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    tasks = {
        "python -c pass": (lambda: until_exit("-c", "pass"), None),
        "import moedesk": (lambda: until_exit("-c", "import moedesk"), 0.1),
        "moedesk --help": (lambda: until_exit("-m", "moedesk", "--help"), 0.2),
        f"first picture of {options.file.name}": (lambda: until_picture(options.file), 1.5),
    }
    for name, (measure, goal) in tasks.items():
        measure()  # warm
        times = [measure() for _ in range(options.runs)]
        aim = f"   goal {goal:.1f} s" if goal else ""
        print(f"{name:<36} median {statistics.median(times):.3f} s, {min(times):.3f} to {max(times):.3f}{aim}")


def until_exit(*arguments: str) -> float:
    """Return the seconds a Python process lives."""
    start = time.monotonic()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def until_picture(file: Path) -> float:
    """Return the seconds from the start of the process until everything in the window is drawn."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"MOEDESK_EXIT_AFTER_FIRST_PICTURE": "1", "MOEDESK_CONFIG_DIR": folder}
        if "DISPLAY" not in environment:
            environment["QT_QPA_PLATFORM"] = "offscreen"
        start = time.monotonic_ns()
        done = subprocess.run(
            [sys.executable, "-m", "moedesk", str(file)], check=True, env=environment, stdout=subprocess.PIPE, text=True
        )
        return (int(done.stdout.splitlines()[-1]) - start) / 1e9


if __name__ == "__main__":
    main()
