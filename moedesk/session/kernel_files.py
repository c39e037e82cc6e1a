"""Where running kernels leave their connection files, and which one a user means."""

import os
from pathlib import Path

from moedesk.core.errors import MoedeskError


def runtime_dir() -> Path:
    """Return Jupyter's folder of connection files."""
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir())


def find_connection_file(name: str) -> Path:
    """Return the connection file that a user names: a path, a file of Jupyter's folder, or the id in such a file's name.

    Raises
    ------
    MoedeskError
        If there is none, or several.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path.absolute()
    folder = runtime_dir()
    found = sorted(folder.glob(f"*{name}*")) if name and os.sep not in name and folder.is_dir() else []
    if len(found) == 1:
        return found[0]
    if found:
        raise MoedeskError(f"{len(found)} kernels fit {name!r}: {', '.join(file.name for file in found[:4])}; name one")
    raise MoedeskError(
        f"there is no connection file {name}; %connect_info in the notebook shows its name, and jupyter's folder is {folder}"
    )
