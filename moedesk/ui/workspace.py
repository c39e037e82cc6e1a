"""The area of dock panels: tabs on top, drawer below, sidebar on the right; its layout, kept and reset."""

from collections.abc import Iterable
from typing import Any

from PySide6.QtCore import QByteArray, Qt, QTimer, Signal
from PySide6.QtWidgets import QApplication, QMainWindow, QTabBar, QTabWidget

from moedesk.session.desk import Desk
from moedesk.session.panel import PanelSpec
from moedesk.session.session import Session
from moedesk.ui.panel import Shell
from moedesk.ui.panel_dock import AREAS, PanelDock
from moedesk.ui.panel_host import PanelHost
from moedesk.ui.theme import Theme
from moedesk.ui.ticker import Ticker

LAYOUT_VERSION = 1


class Workspace(QMainWindow):
    """Every panel's dock. Lives inside the window and shows one session at a time."""

    closed_panel = Signal(str)
    arranged = Signal()

    def __init__(self, specs: Iterable[PanelSpec], shell: Shell, ticker: Ticker) -> None:
        super().__init__()
        self.setWindowFlags(Qt.WindowType.Widget)
        self.setObjectName("workspace")
        self._shell = shell
        self._ticker = ticker
        self._session: Session | None = None
        self._desk: Desk | None = None
        self._floating_hidden: list[PanelDock] = []
        self.panel_state: dict[str, dict[str, Any]] = {}
        self.setDockNestingEnabled(True)
        self.setTabPosition(Qt.DockWidgetArea.AllDockWidgetAreas, QTabWidget.TabPosition.North)
        self.setDocumentMode(True)
        # The sidebar reaches from top to bottom, the drawer lies below the tabs only, as in DevTools.
        self.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
        self.docks = {spec.id: self._make_dock(spec) for spec in specs}
        self._tidying = QTimer(self, singleShot=True, interval=0)
        self._tidying.timeout.connect(self._tidy)
        self.reset_layout()

    def _make_dock(self, spec: PanelSpec) -> PanelDock:
        dock = PanelDock(spec, self)
        dock.shown_changed.connect(self._schedule_tidy)
        dock.topLevelChanged.connect(self._schedule_tidy)
        dock.dockLocationChanged.connect(self._schedule_tidy)
        dock.installEventFilter(self)
        return dock

    # Sessions

    def set_desk(self, desk: Desk) -> None:
        """Give the panels that show all sessions what they are made with."""
        for panel_id, dock in self.docks.items():
            if dock.spec.scope == "desk":
                state = self.panel_state.get(panel_id, {})
                dock.add_host(PanelHost(dock.spec, desk, self._shell, self._ticker, state))
        self._desk = desk

    def close_desk(self) -> None:
        """Let go of these panels' views."""
        for dock in self.docks.values():
            if self._desk in dock.hosts:
                dock.remove_host(self._desk).close_host()

    def add_session(self, session: Session) -> None:
        """Make room for a session in every dock; its views load when first shown."""
        for panel_id, dock in self.docks.items():
            if dock.spec.scope == "desk":
                continue
            state = self.panel_state.get(panel_id, {})
            dock.add_host(PanelHost(dock.spec, session, self._shell, self._ticker, state))

    def show_session(self, session: Session) -> None:
        """Show a session's panels."""
        self._session = session
        for dock in self.docks.values():
            dock.show_session(session)

    def remove_session(self, session: Session) -> None:
        """Take a session's panels away; what they keep between runs is remembered."""
        self.collect_state(session)
        for dock in self.docks.values():
            if session in dock.hosts:
                dock.remove_host(session).close_host()
        if self._session is session:
            self._session = None

    def collect_state(self, session: Session) -> None:
        """Remember what a session's panels, and those for all sessions, keep between runs."""
        for panel_id, dock in self.docks.items():
            for subject in (session, self._desk):
                if subject in dock.hosts:
                    self.panel_state[panel_id] = dock.hosts[subject].save_state()

    def set_awake(self, awake: bool) -> None:
        """Hide floating panels along with the rest while there is nothing to show."""
        if not awake:
            self._floating_hidden = [dock for dock in self.docks.values() if dock.isFloating() and dock.isVisible()]
            for dock in self._floating_hidden:
                dock.hide()
        else:
            for dock in self._floating_hidden:
                dock.show()
            self._floating_hidden = []

    # Panels

    def show_panel(self, panel_id: str) -> None:
        """Open a panel if it is closed, and bring it to the front."""
        dock = self.docks[panel_id]
        dock.show()
        dock.raise_()
        if dock.isFloating():
            dock.activateWindow()

    def close_panel(self, panel_id: str) -> None:
        """Close a panel."""
        self.docks[panel_id].close()

    def is_open(self, panel_id: str) -> bool:
        """Whether a panel is open, if perhaps behind another tab."""
        return not self.docks[panel_id].isHidden()

    @property
    def current_panel(self) -> PanelHost | None:
        """The panel that has the keyboard, else the first on show."""
        shown = [dock for dock in self.docks.values() if dock.shown and dock.current is not None]
        focus = QApplication.focusWidget()
        for dock in shown:
            if focus is not None and dock.isAncestorOf(focus):
                return dock.current
        return shown[0].current if shown else None

    def float_panel(self) -> None:
        """Give the panel in front a window of its own, or put it back."""
        host = self.current_panel
        if host is not None:
            dock = self.docks[host.spec.id]
            dock.setFloating(not dock.isFloating())
            self.show_panel(host.spec.id)

    def step_panel(self, step: int) -> None:
        """Show the next or previous panel of the top tabs."""
        tops = [dock for dock in self.docks.values() if dock.spec.place == "top" and not dock.isHidden()]
        at = next((place for place, dock in enumerate(tops) if dock.shown), 0)
        if tops:
            self.show_panel(tops[(at + step) % len(tops)].spec.id)

    @property
    def drawer(self) -> list[PanelDock]:
        """The docks whose place is the drawer."""
        return [dock for dock in self.docks.values() if dock.spec.place == "drawer"]

    def toggle_drawer(self) -> None:
        """Show or hide the drawer."""
        any_open = any(not dock.isHidden() and not dock.isFloating() for dock in self.drawer)
        for dock in self.drawer:
            if not dock.isFloating():
                dock.setVisible(not any_open)

    # Layout

    def reset_layout(self) -> None:
        """Put every panel where it is declared."""
        first: dict[str, PanelDock] = {}
        for dock in self.docks.values():
            place = dock.spec.place
            dock.setFloating(False)
            self.addDockWidget(AREAS[place], dock)
            if place in first:
                self.tabifyDockWidget(first[place], dock)
            first.setdefault(place, dock)
            dock.setVisible(place != "drawer")
        for dock in first.values():
            dock.raise_()
        self._schedule_tidy()

    def save_layout(self) -> dict[str, Any]:
        """Return the layout as JSON values."""
        state = bytes(self.saveState(LAYOUT_VERSION).toBase64().data()).decode("ascii")
        current = [panel_id for panel_id, dock in self.docks.items() if dock.shown]
        return {"docks": state, "panels": sorted(self.docks), "current": current, "panel_state": self.panel_state}

    def restore_layout(self, layout: dict[str, Any]) -> bool:
        """Take over a layout that ``save_layout`` returned; False, and the declared one, if it doesn't fit."""
        state, panel_state = layout.get("docks"), layout.get("panel_state")
        if isinstance(panel_state, dict):
            self.panel_state = {key: value for key, value in panel_state.items() if isinstance(value, dict)}
        if not isinstance(state, str) or layout.get("panels") != sorted(self.docks):
            return False
        if not self.restoreState(QByteArray.fromBase64(state.encode("ascii")), LAYOUT_VERSION):
            self.reset_layout()
            return False
        for panel_id in layout.get("current", []):
            if panel_id in self.docks and not self.docks[panel_id].isHidden():
                self.docks[panel_id].raise_()
        self._schedule_tidy()
        return True

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        for dock in self.docks.values():
            dock.set_theme(theme)

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802
        """Notice when the user closes a panel, to offer it again."""
        if event.type() == event.Type.Close and isinstance(watched, PanelDock):
            self.closed_panel.emit(watched.spec.id)
        return False

    def _schedule_tidy(self) -> None:
        self._tidying.start()

    def _tidy(self) -> None:
        """Leave title bars out where tabs say the titles, and give tabs a close button."""
        for dock in self.docks.values():
            mates = [mate for mate in self.tabifiedDockWidgets(dock) if not mate.isHidden()]
            alone_on_top = dock.spec.place == "top" and not mates
            dock.set_slim(not dock.isFloating() and (bool(mates) or alone_on_top) and not dock.isHidden())
        for bar in self.findChildren(QTabBar, options=Qt.FindChildOption.FindDirectChildrenOnly):
            if not bar.tabsClosable():
                bar.setTabsClosable(True)
                bar.setExpanding(False)
                bar.setElideMode(Qt.TextElideMode.ElideNone)
                bar.tabCloseRequested.connect(lambda place, bar=bar: self._close_tab(bar, place))
            for place in range(bar.count()):
                hints = (dock.spec.hint for dock in self.docks.values() if dock.windowTitle() == bar.tabText(place))
                bar.setTabToolTip(place, next(hints, ""))
        self._take_keyboard_along()
        self.arranged.emit()

    def _take_keyboard_along(self) -> None:
        """Give the keyboard, if it is in a panel that went behind another one, to that one: it would type unseen."""
        focus = QApplication.focusWidget()
        for dock in self.docks.values():
            if focus is None or dock.shown or dock.isHidden() or not dock.isAncestorOf(focus):
                continue
            for mate in self.tabifiedDockWidgets(dock):
                if isinstance(mate, PanelDock) and mate.shown:
                    mate.take_keyboard()

    def _close_tab(self, bar: QTabBar, place: int) -> None:
        for dock in self.docks.values():
            if dock.windowTitle() == bar.tabText(place) and not dock.isFloating() and not dock.isHidden():
                dock.close()
                return
