"""Runs in a kernel's process before anything else: ``python kernel_boot.py -f CONNECTION_FILE``.

Standard library only, and nothing of moedesk: the interpreter need not have it. Where the process stands when it crashes, or when
it is sent SIGUSR1, goes to the file that ``MOEDESK_FAULT_FILE`` names; both work while a C call holds the interpreter.
"""

import faulthandler
import os
import signal
import sys


def watch_faults() -> None:
    """Have crashes and SIGUSR1 write the stacks of all threads."""
    path = os.environ.get("MOEDESK_FAULT_FILE")
    if not path:
        return
    unready = path + ".unready"
    file = open(unready, "a", encoding="utf-8")  # noqa: PTH123, SIM115 - must stay open as long as the process lives
    faulthandler.enable(file)
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, file)
    os.rename(unready, path)  # noqa: PTH104 - tells the app that SIGUSR1 no longer ends this process


def die_with_parent() -> None:
    """Have the system end this process with the thread that started it, even if that is killed.

    Jupyter's own watch on the parent (JPY_PARENT_PID) is a Python thread: it does nothing while a C call holds the interpreter.
    """
    parent = int(os.environ.get("JPY_PARENT_PID") or 0)
    if not parent or not sys.platform.startswith("linux"):
        return
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before this was asked for
        os._exit(1)


if __name__ == "__main__":
    if sys.path[:1] == [os.path.dirname(os.path.abspath(__file__))]:  # noqa: PTH100, PTH120 - pathlib takes longer to import
        del sys.path[0]  # this file's folder is no place to import from
    watch_faults()
    die_with_parent()
    # The model's thread gives the interpreter's lock away in every operation, and the courier's and the link's threads wait for
    # it; with the usual 5 ms they mostly wait in vain, and each try costs the model.
    sys.setswitchinterval(0.0005)
    import runpy

    runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
