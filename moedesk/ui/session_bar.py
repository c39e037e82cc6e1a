"""The tabs of the open files, shown once there is more than one."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QTabBar

from moedesk.session.session import Session
from moedesk.ui.open_files import OpenFiles


class SessionBar(QTabBar):
    """A tab for each open file."""

    def __init__(self, files: OpenFiles) -> None:
        super().__init__()
        self.setObjectName("session_bar")
        self.setAccessibleName("Open files")
        self.setTabsClosable(True)
        self.setExpanding(False)
        self.setDocumentMode(True)
        self.setDrawBase(False)
        self.setElideMode(Qt.TextElideMode.ElideMiddle)
        self._files = files
        self.currentChanged.connect(self._chosen)
        self.tabCloseRequested.connect(lambda place: files.close(files.sessions[place]))
        files.opened.connect(self._opened)
        files.closed.connect(lambda _: self._rebuild())
        files.current_changed.connect(self._follow)
        self.hide()

    def _opened(self, session: Session) -> None:
        self._rebuild()

    def _rebuild(self) -> None:
        self.blockSignals(True)
        while self.count():
            self.removeTab(0)
        for session in self._files.sessions:
            place = self.addTab(session.title)
            self.setTabToolTip(place, str(session.path or session.title))
        self.blockSignals(False)
        self._follow(self._files.current)
        self.setVisible(self.count() > 1)

    def _follow(self, session: Session | None) -> None:
        if session in self._files.sessions and self.count() == len(self._files.sessions):
            self.setCurrentIndex(self._files.sessions.index(session))

    def _chosen(self, place: int) -> None:
        if 0 <= place < len(self._files.sessions):
            self._files.make_current(self._files.sessions[place])
