"""How a kernel's process ended, in words."""

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_GIGABYTE = 1e9
_MEANINGS = {
    "SIGSEGV": "segmentation fault: native code touched memory that is not its own",
    "SIGABRT": "abort: native code gave up",
    "SIGBUS": "bus error",
    "SIGFPE": "arithmetic error in native code",
    "SIGILL": "illegal instruction: native code built for another processor",
    "SIGTERM": "asked to end",
    "SIGINT": "interrupted",
}


@dataclass(frozen=True)
class Ending:
    """The end of a process.

    Attributes
    ----------
    code : int
        Exit code; -N for signal N.
    said : str
        What happened, in one line.
    stderr : tuple of str
        The last lines that the process itself wrote (native code; what Python prints goes to the console).
    fault : tuple of str
        Where each thread stood, if it crashed.
    asked : bool
        Whether the app ended it.
    """

    code: int
    said: str
    stderr: tuple[str, ...] = ()
    fault: tuple[str, ...] = ()
    asked: bool = False


def explain(code: int, memory: str) -> str:
    """Return what an exit code means; ``memory`` is what is known about memory, told when the process was killed."""
    if code == 0:
        return "The kernel ended by exit()"
    if code > 0:
        return f"The kernel ended with exit code {code}"
    name = _signal_name(-code)
    if name == "SIGKILL":
        return f"The kernel was killed (SIGKILL), {memory}"
    meaning = _MEANINGS.get(name, "")
    return f"The kernel was ended by {name}" + (f" ({meaning})" if meaning else "")


def in_order(fault_text: str) -> tuple[str, ...]:
    """Return the lines of a fault file with the thread that was running first; the list of loaded modules is left out."""
    blocks = [block.strip() for block in fault_text.split("\n\n") if block.strip()]
    blocks = [block for block in blocks if not block.startswith("Extension modules:")]
    blocks.sort(key=lambda block: (block.startswith("Thread 0x"), not block.startswith("Fatal")))
    return tuple("\n\n".join(blocks).splitlines())


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@dataclass(frozen=True)
class MemoryWatch:
    """How often the system had ended a process for lack of memory, to be compared after a kernel's end.

    Attributes
    ----------
    kills : mapping of Path to int
        The count in each file that has one.
    """

    kills: Mapping[Path, int]

    @classmethod
    def start(cls) -> "MemoryWatch":
        """Take the counts of now."""
        found = {path: _count(path) for path in (*_group_files(), Path("/proc/vmstat"))}
        return cls({path: count for path, count in found.items() if count is not None})

    def tell(self, peak_bytes: int) -> str:
        """Return what speaks for and against the want of memory as a SIGKILL's reason."""
        used = f"; it had used up to {peak_bytes / _GIGABYTE:.1f} GB"
        total = _total_bytes()
        if total:
            used += f" of {total / _GIGABYTE:.1f} GB"
        if any((_count(path) or 0) > before for path, before in self.kills.items()):
            return "out of memory: the system ended a process for it meanwhile" + used
        if self.kills:
            return "perhaps out of memory, though the system counts no process ended for that" + used
        return "perhaps out of memory" + used


def peak_memory(max_rss: int) -> int:
    """Return the bytes that ``ru_maxrss`` stands for: kilobytes on Linux, bytes on macOS."""
    return max_rss if sys.platform == "darwin" else max_rss * 1024


def _group_files() -> list[Path]:
    """The files in which this process's control group counts processes ended for memory, of version 2 and 1."""
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    files = []
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            files += [_CGROUP / path.strip("/") / "memory.events", _CGROUP / "memory.events"]
        elif "memory" in controllers.split(","):
            files += [
                _CGROUP / "memory" / path.strip("/") / "memory.oom_control",
                _CGROUP / "memory/memory.oom_control",
            ]
    return files


def _count(path: Path) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def _total_bytes() -> int:
    """The memory of this machine, or the control group's limit where that is less; 0 if unknown."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")]
    except OSError:
        pass
    for path in _group_files():
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                found.append(int((path.parent / name).read_text(encoding="ascii")))
            except (OSError, ValueError):  # no such file, or "max"
                continue
    return min(found, default=0)
