"""Set moedesk up in this checkout and open it on the sample model.

python3 packaging/run.py              the app on the sample; without a display, the same work headless
python3 packaging/run.py run.h5       the app on a capture of yours
python3 packaging/run.py doctor       any moedesk command

Nothing is installed outside .venv, except system libraries by apt-get when this is root on Debian or Ubuntu.
"""

from __future__ import annotations

import os
import subprocess
import sys

from setup_environment import ROOT, SetupError, heading, prepare
from system_packages import apt_install, has_display, install_hint, missing_packages, qt_trouble

HEADLESS_FOLDER = ROOT / "build" / "demo"


def main(arguments: list[str]) -> int:
    """Set up and start; return the exit code."""
    if arguments in (["-h"], ["--help"]):
        print(__doc__.strip())
        return 0
    try:
        window = has_display()
        install_libraries(window)
        python = prepare()
        trouble = qt_trouble(python, window)
        if trouble and window:
            heading(f"No window can be opened here ({trouble}); going on without a display")
            window, trouble = False, qt_trouble(python, window=False)
        if trouble:
            raise SetupError(f"Qt does not start: {trouble}")
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2
    command = [str(python.parent / "moedesk"), *moedesk_arguments(arguments, window)]
    environment = dict(os.environ) if window else {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    try:
        return subprocess.run(command, env=environment).returncode
    except KeyboardInterrupt:
        return 130


def install_libraries(window: bool) -> None:
    """Install the system libraries that Qt lacks, or say how."""
    missing = missing_packages(window)
    if missing and not apt_install(missing):
        raise SetupError(f"Qt lacks system libraries or a font. {install_hint(missing)}")


def moedesk_arguments(arguments: list[str], window: bool) -> list[str]:
    """Return the demo with its options, or what the user asked for instead."""
    if arguments and not arguments[0].startswith("-"):
        return arguments
    if window:
        return ["demo", *arguments]
    return ["demo", "--headless", str(HEADLESS_FOLDER), *arguments]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
