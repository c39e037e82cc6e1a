"""What was closed and can come back: panels, captures, live sessions."""

from pathlib import Path

from moedesk.session.session import Session
from moedesk.ui.open_files import OpenFiles
from moedesk.ui.workspace import Workspace

LIMIT = 20


class Closed:
    """Remembers the last panels and sessions that were closed, for "Undo close"."""

    def __init__(self, files: OpenFiles, workspace: Workspace) -> None:
        self._files, self._workspace = files, workspace
        self._last: list[tuple[str, str]] = []  # what it was, and its name
        files.closed.connect(self._session_closed)
        workspace.closed_panel.connect(lambda panel_id: self._remember("panel", panel_id))

    def can_undo(self) -> bool:
        """Whether something was closed that can come back."""
        return bool(self._last)

    def undo(self) -> None:
        """Bring back the panel or capture closed last."""
        kind, name = self._last.pop()
        if kind == "panel":
            self._workspace.show_panel(name)
        else:
            self._files.open(Path(name), scratch=kind == "scratch")

    def _session_closed(self, session: Session) -> None:
        if session.path is not None and session.scratch is None:
            self._remember("file", str(session.path))
        elif session.scratch is not None and session.store.n_passes:
            self._remember("scratch", str(session.scratch))

    def _remember(self, kind: str, name: str) -> None:
        self._last = [*self._last[1 - LIMIT :], (kind, name)]
