"""The tabs of open files and live sessions, shown once there is more than one, or a live one."""

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QTabBar

from moedesk.session.session import RELABELS, Session
from moedesk.ui.open_files import OpenFiles

_LIVE = "A live session: ● a model is attached, ○ none is; * not saved (Ctrl+S saves)"


class SessionBar(QTabBar):
    """A tab for each open file and live session."""

    def __init__(self, files: OpenFiles, close: Callable[[Session], None]) -> None:
        super().__init__()
        self.setObjectName("session_bar")
        self.setAccessibleName("Open files")
        self.setTabsClosable(True)
        self.setExpanding(False)
        self.setDocumentMode(True)
        self.setDrawBase(False)
        self.setElideMode(Qt.TextElideMode.ElideMiddle)
        self._files = files
        self._disconnect: dict[Session, Callable[[], None]] = {}
        self.currentChanged.connect(self._chosen)
        self.tabCloseRequested.connect(lambda place: close(files.sessions[place]))
        files.opened.connect(self._opened)
        files.closed.connect(self._closed)
        files.current_changed.connect(self._follow)
        self.hide()

    def _opened(self, session: Session) -> None:
        self._disconnect[session] = session.changed.connect(lambda name: self._relabel(session, name))
        self._rebuild()

    def _closed(self, session: Session) -> None:
        self._disconnect.pop(session, lambda: None)()
        self._rebuild()

    def _relabel(self, session: Session, name: str) -> None:
        if name in RELABELS and session in self._files.sessions:
            place = self._files.sessions.index(session)
            if self.tabText(place) != session.label:
                self.setTabText(place, session.label)

    def _rebuild(self) -> None:
        self.blockSignals(True)
        while self.count():
            self.removeTab(0)
        for session in self._files.sessions:
            place = self.addTab(session.label)
            self.setTabToolTip(place, str(session.path or _LIVE))
        self.blockSignals(False)
        self._follow(self._files.current)
        self.setVisible(self.count() > 1 or any(session.live is not None for session in self._files.sessions))

    def _follow(self, session: Session | None) -> None:
        if session in self._files.sessions and self.count() == len(self._files.sessions):
            self.setCurrentIndex(self._files.sessions.index(session))

    def _chosen(self, place: int) -> None:
        if 0 <= place < len(self._files.sessions):
            self._files.make_current(self._files.sessions[place])
