"""The window: menus, open files, the workspace of panels, the replay bar, the status bar; what panels see as their shell."""

from collections.abc import Callable, Iterable
from pathlib import Path

from PySide6.QtCore import QTimer, QUrl
from PySide6.QtGui import QCloseEvent, QDesktopServices, QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import QMainWindow, QMenu, QStackedWidget, QVBoxLayout, QWidget

from moedesk.core.errors import MoedeskError
from moedesk.core.resources import resource
from moedesk.core.selection import Kind, Selection
from moedesk.core.store import Store
from moedesk.session.commands import Commands
from moedesk.session.goto import Destination
from moedesk.session.panel import PanelSpec
from moedesk.session.recent import RecentFiles
from moedesk.session.session import RELABELS, Session
from moedesk.session.settings import Settings
from moedesk.ui import about
from moedesk.ui.appearance import Appearance
from moedesk.ui.beside import Beside
from moedesk.ui.closed import Closed
from moedesk.ui.command_palette import CommandPalette
from moedesk.ui.convention_commands import kept_conventions
from moedesk.ui.delivery import Delivery
from moedesk.ui.dialogs import ask_captures, ask_connection_file
from moedesk.ui.icons import icon
from moedesk.ui.live_side import LiveSide
from moedesk.ui.menus import Menus
from moedesk.ui.message_bar import MessageBar
from moedesk.ui.open_files import OpenFiles, read_capture
from moedesk.ui.opengl import Renderer
from moedesk.ui.override_menu import PANEL as OVERRIDES
from moedesk.ui.sample import show_specialist
from moedesk.ui.saving import Saving
from moedesk.ui.session_bar import SessionBar
from moedesk.ui.status_bar import StatusBar
from moedesk.ui.stop_banner import StopBanner
from moedesk.ui.stops import Stops
from moedesk.ui.theme import Theme
from moedesk.ui.ticker import Ticker
from moedesk.ui.transport import Transport
from moedesk.ui.welcome import Welcome
from moedesk.ui.window_commands import window_commands
from moedesk.ui.window_layout import keep_layout, restore_layout
from moedesk.ui.workspace import Workspace


class Window(QMainWindow):
    """The application's window; implements ``moedesk.ui.panel.Shell``.

    Parameters
    ----------
    specs : iterable of PanelSpec
    settings : Settings
    renderer : Renderer
        How plots draw.
    read : callable
        Opens a file as a Store, in a worker.
    """

    def __init__(
        self,
        specs: Iterable[PanelSpec],
        settings: Settings,
        renderer: Renderer,
        read: Callable[[Path], Store] = read_capture,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.recent = RecentFiles(settings)
        self.appearance = Appearance(settings, self)
        self.ticker = Ticker(self)
        delivery = Delivery(self)
        self.files = OpenFiles(delivery, read)
        self.beside = Beside(self.files, self.recent, settings, self)
        self.workspace = Workspace(specs, self, self.ticker)
        self.transport = Transport(self.ticker)
        self.messages = MessageBar()
        self.stops = Stops(self.files)
        self.closed = Closed(self.files, self.workspace)
        self.status = StatusBar()
        self.live = LiveSide(self.files, self.ticker, delivery, self.messages, self._reveal)
        self.saving = Saving(self, settings, delivery, self.messages, self.say, self._saved)
        self.commands = Commands()
        self.command_palette = CommandPalette(self, self.commands, lambda: self.files.current, self.go_to)
        self.welcome = Welcome(self.recent, self.files.open, self.commands.run)
        self._sample: Path | None = None
        self._disconnect_title: Callable[[], None] = _nothing
        self._renderer = renderer
        self._build()
        self._connect()
        self.set_renderer(renderer)
        self.appearance.apply()
        self._recolor()
        restore_layout(self)
        self.workspace.set_desk(self.live)
        self._show_current(None)
        self.live.offer_recovery()

    def _build(self) -> None:
        self.setObjectName("window")
        self.setWindowIcon(icon("moedesk", self.theme))
        self.setAcceptDrops(True)
        self._stack = QStackedWidget()
        self._stack.addWidget(self.welcome)
        self._stack.addWidget(self.workspace)
        center = QWidget()
        layout = QVBoxLayout(center)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        self.stop_banner = StopBanner(self.stops)
        bars = (self.stop_banner, SessionBar(self.files, self.close_session), self.messages)
        for widget in (*bars, self._stack, self.transport):
            layout.addWidget(widget, 1 if widget is self._stack else 0)
        self.setCentralWidget(center)
        self.setStatusBar(self.status)
        self.status.watch(self.ticker)
        self.commands.add(*window_commands(self))
        self.menus = Menus(self, self.commands)
        self.menus.add_dynamic("File/Recent files", self._fill_recent)
        self.stops.changed.connect(self.menus.share_keys)

    def _connect(self) -> None:
        files = self.files
        files.opening.connect(self._opening)
        files.opened.connect(self._opened)
        files.failed.connect(self._failed)
        files.current_changed.connect(self._show_current)
        files.closed.connect(self._closed_session)
        self.appearance.changed.connect(self._recolor)
        self.status.overrides_asked.connect(lambda: self.show_panel(OVERRIDES))

    # What panels see

    @property
    def theme(self) -> Theme:
        """The colours in use."""
        return self.appearance.theme

    @property
    def opengl(self) -> bool:
        """Whether plots draw through OpenGL."""
        return self._renderer.opengl

    def reveal(self, selection: Selection, panel_id: str) -> None:
        """Show a panel and select something in its session."""
        self.workspace.show_panel(panel_id)
        if self.files.current is not None:
            self.files.current.select(selection)

    def panels_for(self, kind: Kind) -> tuple[PanelSpec, ...]:
        """Return the panels that can show a kind of selection."""
        return tuple(dock.spec for dock in self.workspace.docks.values() if kind in dock.spec.reveals)

    def say(self, text: str) -> None:
        """Show a line in the status bar for a while."""
        self.status.say(text)

    # Files

    def ask_files(self) -> None:
        """Let the user pick captures and open them."""
        for path in ask_captures(self, self.settings):
            self.files.open(path)

    def open_sample(self) -> None:
        """Open the capture that comes with moedesk."""
        try:
            self._sample = resource("sample", "tinymoe.h5").absolute()
            self.files.open(self._sample)
        except MoedeskError as error:
            self.messages.show_message(str(error))

    def close_current(self) -> None:
        """Close the current session; asks if something of it is unsaved."""
        if self.files.current is not None:
            self.close_session(self.files.current)

    def close_session(self, session: Session) -> None:
        """Close a session; asks if something of it is unsaved."""
        self.saving.close(session, lambda: self._close_for_good(session))

    def _close_for_good(self, session: Session) -> None:
        if session in self.files.sessions:
            self.files.close(session, discard=True)

    def save_current(self) -> None:
        """Save the current session as a capture."""
        if self.files.current is not None:
            self.saving.save(self.files.current)

    def go_to(self, place: Destination) -> None:
        """Select a place and show it: in the panel in front if that can, else in the first that can."""
        current = self.workspace.current_panel
        specs = self.panels_for(place.selection.kind)
        if specs and (current is None or current.spec not in specs):
            self.workspace.show_panel(specs[0].id)
        if self.files.current is not None:
            self.files.current.select(place.selection)

    # Kernels

    def show_panel(self, panel_id: str) -> None:
        """Open a panel and bring it to the front; one for all sessions brings a kernel, and so a session, if there is none."""
        if self.workspace.docks[panel_id].spec.scope == "desk":
            if not self.live.kernels:
                self.live.start_kernel()
            self.live.ensure_session()
        self.workspace.show_panel(panel_id)

    def start_kernel(self) -> None:
        """Start a kernel and show its console."""
        self.live.start_kernel()
        self._show_console()

    def connect_kernel(self, connection_file: Path, ssh: str = "") -> None:
        """Connect to a kernel that runs already, and show its console."""
        self.live.connect_kernel(connection_file, ssh)
        self._show_console()

    def ask_kernel(self) -> None:
        """Let the user pick the connection file of a running kernel, and connect to it."""
        path = ask_connection_file(self)
        if path is not None:
            self.connect_kernel(path)

    def _show_console(self) -> None:
        for panel_id, dock in self.workspace.docks.items():
            if dock.spec.scope == "desk":
                self.show_panel(panel_id)

    # View

    def find_in_panel(self) -> None:
        """Put the keyboard into the search field of the panel in front."""
        host = self.workspace.current_panel
        if host is not None and host.view is not None:
            host.view.focus_find()

    def reset_layout(self) -> None:
        """Put all panels back where they belong."""
        self.workspace.reset_layout()
        self.say("Layout reset")

    def toggle_full_screen(self) -> None:
        """Fill the screen, or not."""
        self.showNormal() if self.isFullScreen() else self.showFullScreen()

    def set_renderer(self, renderer: Renderer) -> None:
        """Say how plots draw; views that exist keep drawing as they do."""
        self._renderer = renderer
        self.status.show_renderer(renderer.text, renderer.detail)

    def show_documentation(self) -> None:
        """Open the folder of the documentation."""
        folder = about.documentation()
        if folder is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def show_about(self) -> None:
        """Say what this is, and its versions."""
        about.show_about(self)

    def copy_doctor(self) -> None:
        """Put the versions and the renderer on the clipboard, for a report."""
        QGuiApplication.clipboard().setText(
            f"{about.versions()}\nRenderer: {self._renderer.text} {self._renderer.detail}"
        )
        self.say("Versions and renderer copied; `moedesk doctor` says more")

    @property
    def settled(self) -> bool:
        """Whether everything asked for is drawn: no file opening, no job waiting, no tick due."""
        session = self.files.current
        if self.files.busy or self.ticker.running:
            return False
        hosts = [dock.current for dock in self.workspace.docks.values()]
        return (session is None or session.idle) and all(host is None or host.settled for host in hosts)

    # Events

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Accept files."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Open what was dropped."""
        for url in event.mimeData().urls():
            if url.isLocalFile():
                self.files.open(Path(url.toLocalFile()))
        event.acceptProposedAction()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        """Ask about what is unsaved; keep the layout, then end all workers and kernels."""
        if not self.saving.close_all(self.files.sessions, lambda: QTimer.singleShot(0, self.close)):
            event.ignore()
            return
        keep_layout(self)
        self.ticker.stop()
        self.saving.shut_down()
        self.live.shut_down()
        for session in list(self.files.sessions):
            self.transport.set_session(None)
            self.workspace.remove_session(session)
        self.workspace.close_desk()
        self.files.shut_down()
        self.live.close_scratch(discard=True)
        event.accept()

    # Reactions

    def _opening(self, path: str) -> None:
        self.status.showMessage(f"Opening {Path(path).name} …")

    def _opened(self, session: Session) -> None:
        self.status.clearMessage()
        session.choose_conventions(kept_conventions(self.settings))
        if session.path is not None and session.scratch is None:
            self.recent.add(session.path)
        if session.path is not None and session.path == self._sample:
            show_specialist(session, self.say)
        self.workspace.add_session(session)

    def _reveal(self, selection: Selection) -> None:
        """Show something that the console asked for."""
        specs = self.panels_for(selection.kind)
        if specs and self.files.current is not None:
            shown = self.workspace.current_panel
            here = shown is not None and shown.spec in specs
            self.reveal(selection, shown.spec.id if here and shown is not None else specs[0].id)
            self.activateWindow()

    def _saved(self, session: Session, path: Path) -> None:
        self.recent.add(path)
        size = path.stat().st_size
        self.messages.show_message(f"Saved {session.title} to {path} ({size / 2**20:,.1f} MiB)", "info")

    def _failed(self, path: str, line: str) -> None:
        self.status.clearMessage()
        self.recent.remove(Path(path))
        self.messages.show_message(line)
        self.welcome.refresh()

    def _show_current(self, session: Session | None) -> None:
        self._disconnect_title()
        self._disconnect_title = session.changed.connect(self._retitle) if session is not None else _nothing
        self._retitle("live")
        self.workspace.set_awake(session is not None)
        if session is not None:
            self.workspace.show_session(session)
        else:
            self.welcome.refresh()
        self._stack.setCurrentWidget(self.workspace if session else self.welcome)
        self.transport.setVisible(session is not None)
        self.transport.set_session(session)
        self.status.show_session(session)

    def _retitle(self, name: str) -> None:
        session = self.files.current
        title = f"{session.label} – moedesk" if session is not None else "moedesk"
        if name in RELABELS and title != self.windowTitle():
            self.setWindowTitle(title)

    def _closed_session(self, session: Session) -> None:
        self.workspace.remove_session(session)
        self.transport.forget(session)
        self.live.forget(session)

    def _recolor(self) -> None:
        for part in (self.workspace, self.transport, self.messages, self.stop_banner, self.welcome, self.status):
            part.set_theme(self.theme)

    def _fill_recent(self, menu: QMenu) -> None:
        for path in self.recent.paths:
            action = menu.addAction(f"{path.name}  –  {path.parent}")
            action.triggered.connect(lambda _=False, path=path: self.files.open(path))
        if not self.recent.paths:
            menu.addAction("No recent files").setEnabled(False)
        else:
            menu.addSeparator()
            menu.addAction("Clear the list").triggered.connect(self.recent.clear)


def _nothing() -> None:
    """Disconnect nothing."""
