"""Where the shipped models, texts and icons lie: inside an installed copy, or at the top of a checkout."""

from pathlib import Path

from moedesk.core.errors import MoedeskError

_PACKAGE = Path(__file__).resolve().parent.parent


def resource(*parts: str) -> Path:
    """Return the path of a shipped file or folder.

    Raises
    ------
    MoedeskError
        If it is missing from this installation.
    """
    for root in (_PACKAGE / "resources", _PACKAGE.parent / "resources"):
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise MoedeskError(f"{'/'.join(parts)} is missing from this installation of moedesk; install it again")
