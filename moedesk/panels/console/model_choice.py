"""Which kernels can be started, and what a menu says about each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moedesk.core.errors import MoedeskError
from moedesk.link.interpreter import Interpreter


@dataclass(frozen=True)
class Choice:
    """An entry of the menu of interpreters.

    Attributes
    ----------
    python : str
        Its path.
    text : str
    hint : str
        What keeps it from holding a model, with the command that cures it; empty if nothing does.
    possible : bool
        Whether a kernel can be started with it.
    """

    python: str
    text: str
    hint: str = ""
    possible: bool = True


def choice(path: str, examined: Interpreter | None) -> Choice:
    """Return the entry of an interpreter; None while it is being examined."""
    if examined is None:
        return Choice(path, f"{path}  (looking…)")
    problems = " · ".join(examined.problems)
    versions = [
        f"Python {examined.python}" if examined.python else "",
        f"moedesk {examined.moedesk}" if examined.moedesk else "",
    ]
    known = ", ".join(version for version in versions if version)
    text = f"{path}  ({known})" if known else path
    return Choice(path, f"⚠ {text}" if problems else text, problems, examined.runs_kernels)


def remembered(pythons: Sequence[str], chosen: str, limit: int = 5) -> list[str]:
    """Return the interpreters to remember after one was chosen, the latest first."""
    return [chosen, *(python for python in pythons if python != chosen)][:limit]


def connection_request(file: str, ssh: str) -> tuple[Path, str]:
    """Return path and host of a kernel to connect to.

    Raises
    ------
    MoedeskError
        Something is missing; the line says what.
    """
    name, host = file.strip(), ssh.strip()
    if not name:
        raise MoedeskError("Which connection file? Run %connect_info in the notebook: it names the file")
    path = Path(name) if host and name.startswith("~") else Path(name).expanduser()
    if not host and not path.is_file():
        raise MoedeskError(f"{path} is not here; give the ssh host if it is on another machine")
    return path, host
