"""Where this process stands when it crashes, or when it is asked (SIGUSR1): written to a file that the app reads."""

import faulthandler
import os
import signal

_watched: list[object] = []  # the file stays open as long as the process lives


def watch_faults() -> None:
    """Have crashes and SIGUSR1 write the stacks of all threads to the file that ``MOEDESK_FAULT_FILE`` names, if it is set."""
    path = os.environ.get("MOEDESK_FAULT_FILE")
    if not path or _watched:
        return
    file = open(path, "a", encoding="utf-8")  # noqa: PTH123, SIM115
    _watched.append(file)
    faulthandler.enable(file)
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, file, all_threads=True)
