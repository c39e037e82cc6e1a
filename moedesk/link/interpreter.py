"""Python interpreters in which a kernel can be started: where they are, and what they have."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from moedesk import __version__
from moedesk.link.protocol import PROTOCOL

_TIMEOUT = 20  # seconds; a cold disk may need some
_SOURCE = """
import json, sys
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except Exception:
        return ""
found = {"python": "%d.%d.%d" % sys.version_info[:3], "prefix": sys.prefix}
found["ipykernel"], found["torch"] = version("ipykernel"), version("torch")
try:
    import moedesk
    found["moedesk"] = str(getattr(moedesk, "__version__", ""))
    from moedesk.link.protocol import PROTOCOL
    found["protocol"] = PROTOCOL
except Exception:
    pass
print("\\n" + json.dumps(found))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python interpreter.

    Attributes
    ----------
    path : str
    python, ipykernel, moedesk, torch : str
        Versions; empty for what it lacks.
    protocol : int
        What its moedesk speaks; 0 if it doesn't say.
    failure : str
        Why it could not be asked, in one line; empty if it could.
    """

    path: str
    python: str = ""
    ipykernel: str = ""
    moedesk: str = ""
    torch: str = ""
    protocol: int = 0
    failure: str = ""

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps it from holding a model for this app, each in one line with the command that cures it."""
        if self.failure:
            return (self.failure,)
        lacking = [name for name in ("ipykernel", "moedesk") if not getattr(self, name)]
        if lacking:
            wanted = " ".join(f"moedesk=={__version__}" if name == "moedesk" else name for name in lacking)
            return (f"No {' and no '.join(lacking)}: {self._pip} {wanted}",)
        if self.protocol < PROTOCOL:
            return (f"moedesk {self.moedesk} is too old: {self._pip} -U moedesk=={__version__}",)
        if self.protocol > PROTOCOL:
            here = f"{shlex.quote(sys.executable)} -m pip install -U moedesk=={self.moedesk}"
            return (f"moedesk {self.moedesk} is too new for this app: {here}",)
        return () if self.torch else (f"No torch, so no models: {self._pip} torch",)

    @property
    def runs_kernels(self) -> bool:
        """Whether a kernel can be started with it, be it without routing."""
        return not self.failure and bool(self.ipykernel)

    @property
    def label(self) -> str:
        """Version and place, for a menu."""
        return f"Python {self.python}  {self.path}" if self.python else self.path

    @property
    def _pip(self) -> str:
        return f"{shlex.quote(self.path)} -m pip install"


def examine(python: str) -> Interpreter:
    """Run an interpreter and ask what it has; takes up to 20 seconds, so call it from a worker."""
    try:
        done = subprocess.run(
            [python, "-c", _SOURCE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        found = json.loads(done.stdout.rsplit("\n", 2)[-2])
        versions = {name: str(found.get(name, "")) for name in ("python", "ipykernel", "moedesk", "torch")}
        return Interpreter(python, protocol=int(found.get("protocol", 0)), **versions)
    except subprocess.TimeoutExpired:
        return Interpreter(
            python, failure=f"{python} did not answer within {_TIMEOUT} seconds; choose another interpreter"
        )
    except OSError as error:
        return Interpreter(python, failure=f"{python} can't be started: {error.strerror}; choose another interpreter")
    except (ValueError, IndexError):
        return Interpreter(python, failure=f"{python} is no Python 3.8 or newer that works; choose another interpreter")


def known_interpreters(remembered: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the paths of this interpreter, remembered ones, those of active environments, and ``python3``; each once."""
    environments = [os.environ.get(name) for name in ("VIRTUAL_ENV", "CONDA_PREFIX")]
    candidates = [sys.executable, *remembered]
    candidates += [str(Path(folder) / "bin" / "python") for folder in environments if folder]
    candidates.append(shutil.which("python3") or "")
    places = {_place(path): path for path in reversed(candidates) if path and Path(path).is_file()}
    return tuple(path for path in dict.fromkeys(candidates) if places.get(_place(path)) == path)


def _place(path: str) -> str:
    """The same for ``python`` and ``python3`` of one environment; links are not followed, as they tell environments apart."""
    folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
    return folder if name.startswith("python") else path
