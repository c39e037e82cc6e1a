"""The folder of a local socket: entered by its owner only, removed when done."""

import shutil
import tempfile
from pathlib import Path

from moedesk.link.private_folder import LINK, private_folder
from moedesk.link.protocol import LinkError

_MAX_PATH = 100
"""Socket addresses end at 107 bytes on Linux, at 103 on macOS."""


class SocketFolder:
    """A fresh folder with mode 0700 in the temporary folder.

    Attributes
    ----------
    path : Path
    address : str
        Of a socket in it.

    Raises
    ------
    LinkError
        There is no place for it.
    """

    def __init__(self) -> None:
        root = Path(tempfile.gettempdir())
        if len(str(root)) > _MAX_PATH - 30:
            root = Path("/tmp")
        try:
            self.path = private_folder(LINK, root)
        except OSError as error:
            reason = error.strerror or error
            raise LinkError(
                f"the link has no place for its socket in {root}: {reason}; set TMPDIR to another"
            ) from None
        self.address = f"ipc://{self.path}/link"

    def remove(self) -> None:
        """Remove it with the socket in it."""
        shutil.rmtree(self.path, ignore_errors=True)
