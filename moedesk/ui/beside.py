"""What a panel may compare its session with: the other open sessions, and captures opened for it."""

from collections.abc import Callable
from pathlib import Path

from PySide6.QtWidgets import QWidget

from moedesk.core.event import Event
from moedesk.session.recent import RecentFiles
from moedesk.session.session import Session
from moedesk.session.settings import Settings
from moedesk.ui.dialogs import ask_captures
from moedesk.ui.open_files import OpenFiles

PAIRS = 8
_KEY = "compared"


class Beside:
    """Other sessions than a panel's own.

    Parameters
    ----------
    files : OpenFiles
    recent : RecentFiles
    settings : Settings
    window : QWidget
        What dialogs belong to.

    Attributes
    ----------
    changed : Event of Session
        A session came, or went.
    """

    def __init__(self, files: OpenFiles, recent: RecentFiles, settings: Settings, window: QWidget) -> None:
        self.changed: Event[Session] = Event()
        self._files, self._recent, self._settings, self._window = files, recent, settings, window
        files.opened.connect(self.changed.emit)
        files.closed.connect(self.changed.emit)

    def others(self, session: Session) -> tuple[Session, ...]:
        """Return the other open sessions, in the order they came."""
        return tuple(other for other in self._files.sessions if other is not session)

    def open(self, path: Path) -> None:
        """Open a capture, and leave the current session in front; a file that can't be opened is said in the window."""
        self._files.open(path, show=False)

    def ask(self) -> Path | None:
        """Let the user pick a capture, open it, and return it; None if the user would rather not."""
        paths = ask_captures(self._window, self._settings)
        for path in paths:
            self.open(path)
        return paths[0].absolute() if paths else None

    def recent(self, session: Session) -> tuple[Path, ...]:
        """Return the captures that were opened lately and are not open, those compared with this session's first."""
        open_paths = {other.path for other in self._files.sessions}
        partners = [Path(b if a == str(session.path) else a) for a, b in self._pairs if str(session.path) in (a, b)]
        paths = dict.fromkeys((*partners, *self._recent.paths))
        return tuple(path for path in paths if path not in open_paths)

    def note(self, session: Session, other: Session) -> None:
        """Remember that two captures were compared."""
        if session.path is None or other.path is None or session.scratch or other.scratch:
            return
        pair = [str(session.path), str(other.path)]
        rest = [one for one in self._pairs if sorted(one) != sorted(pair)]
        self._settings.set(_KEY, [pair, *rest][:PAIRS])

    @property
    def _pairs(self) -> list[list[str]]:
        kept = self._settings.get(_KEY, [])
        return [one for one in kept if isinstance(one, list) and len(one) == 2] if isinstance(kept, list) else []


def watch(beside: Beside, widget: QWidget, listener: Callable[[Session], None]) -> None:
    """Call ``listener`` whenever a session came or went, for as long as the widget lives."""
    disconnect = beside.changed.connect(listener)
    widget.destroyed.connect(lambda: disconnect())
