"""The dock of one panel: a slim title bar, and one host a session."""

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QDockWidget, QHBoxLayout, QLabel, QStackedWidget, QToolButton, QWidget

from moedesk.session.desk import Desk
from moedesk.session.panel import PanelSpec
from moedesk.session.session import Session
from moedesk.ui.icons import icon
from moedesk.ui.panel_host import PanelHost
from moedesk.ui.theme import Theme

AREAS = {
    "top": Qt.DockWidgetArea.TopDockWidgetArea,
    "drawer": Qt.DockWidgetArea.BottomDockWidgetArea,
    "sidebar": Qt.DockWidgetArea.RightDockWidgetArea,
}


class PanelDock(QDockWidget):
    """Holds a panel's hosts, of which the current session's is on show."""

    shown_changed = Signal()

    def __init__(self, spec: PanelSpec, parent: QWidget) -> None:
        super().__init__(spec.title, parent)
        self.spec = spec
        self.shown = False
        self.hosts: dict[Session | Desk, PanelHost] = {}
        self.setObjectName(f"panel-{spec.id}")
        self._stack = QStackedWidget()
        self.setWidget(self._stack)
        self._title = _Title(self)
        self.setTitleBarWidget(self._title)
        self.visibilityChanged.connect(self._visibility_changed)

    @property
    def current(self) -> PanelHost | None:
        """The host of the current session."""
        widget = self._stack.currentWidget()
        return widget if isinstance(widget, PanelHost) else None

    def add_host(self, host: PanelHost) -> None:
        """Take in the host of a session, or of the desk."""
        self.hosts[host.subject] = host
        self._stack.addWidget(host)

    def remove_host(self, session: Session | Desk) -> PanelHost:
        """Give a session's host back."""
        host = self.hosts.pop(session)
        self._stack.removeWidget(host)
        return host

    def show_session(self, session: Session) -> None:
        """Bring a session's host to the front; a panel for all sessions stays as it is."""
        if self.spec.scope == "session":
            self._stack.setCurrentWidget(self.hosts[session])
        self.update_active()

    def update_active(self) -> None:
        """Let the current host work if it is on show, and no other."""
        for host in self.hosts.values():
            host.set_active(self.shown and host is self.current)

    def set_slim(self, slim: bool) -> None:
        """Leave the title bar out where a tab says the title already."""
        self._title.set_slim(slim)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._title.set_theme(theme)
        for host in self.hosts.values():
            host.set_theme()

    def take_keyboard(self) -> None:
        """Take the keyboard to where it was in this panel the last time; else to its first field, or in the drawer its prompt."""
        view = self.current.view if self.current is not None else None
        before = self.focusWidget()
        if before is not None and before is not self and before.isVisible():
            before.setFocus()
        elif view is not None and self.spec.place == "drawer":
            view.focus_find()
        else:
            (view or self).setFocus()

    def _visibility_changed(self, visible: bool) -> None:
        # Not isVisible(): the docks behind the current tab are moved off the window, but stay visible to Qt.
        self.shown = visible
        self.update_active()
        self.shown_changed.emit()


class _Title(QWidget):
    """Title, float and close; no height at all while slim. The dock drags itself by it."""

    def __init__(self, dock: PanelDock) -> None:
        super().__init__(dock)
        self.setObjectName("panel_title")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._slim = False
        self._float, self._close = QToolButton(), QToolButton()
        self._float.setToolTip("Float, or put back")
        self._float.clicked.connect(lambda: dock.setFloating(not dock.isFloating()))
        self._close.setToolTip("Close (Ctrl+Shift+T reopens)")
        self._close.clicked.connect(dock.close)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(8, 0, 2, 0)
        layout.setSpacing(0)
        self._parts: list[QWidget] = [QLabel(dock.spec.title), self._float, self._close]
        layout.addWidget(self._parts[0], 1)
        for button in (self._float, self._close):
            button.setAutoRaise(True)
            button.setIconSize(QSize(14, 14))
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            layout.addWidget(button)

    def set_slim(self, slim: bool) -> None:
        """Hide or show."""
        if slim != self._slim:
            self._slim = slim
            for part in self._parts:
                part.setVisible(not slim)
            self.updateGeometry()

    def set_theme(self, theme: Theme) -> None:
        """Redraw the icons."""
        self._float.setIcon(icon("float", theme))
        self._close.setIcon(icon("close", theme))

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return no height while slim."""
        return QSize(0, 0) if self._slim else super().sizeHint()

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return no height while slim."""
        return QSize(0, 0) if self._slim else super().minimumSizeHint()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Leave the double click to the dock, which floats or docks."""
        event.ignore()
