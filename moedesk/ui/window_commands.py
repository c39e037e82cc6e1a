"""The window's own commands: files, view, replay, places, help."""

from functools import partial
from typing import TYPE_CHECKING

from moedesk.session.commands import Command
from moedesk.ui.about import documentation
from moedesk.ui.appearance import CHOICES
from moedesk.ui.convention_commands import convention_commands
from moedesk.ui.label_commands import label_commands
from moedesk.ui.override_commands import override_commands
from moedesk.ui.stop_commands import stop_commands

if TYPE_CHECKING:
    from moedesk.session.live import Live
    from moedesk.ui.window import Window


def window_commands(window: "Window") -> list[Command]:
    """Return the commands in the order of the menus."""
    parts = (
        _files,
        label_commands,
        _model,
        override_commands,
        stop_commands,
        _panels,
        _view,
        convention_commands,
        _replay,
        _go,
        _help,
    )
    return [command for part in parts for command in part(window)]


def _files(window: "Window") -> list[Command]:
    files = window.files

    def is_open() -> bool:
        return files.current is not None

    return [
        Command("file.open", "Open capture…", window.ask_files, shortcut="Ctrl+O", menu="File"),
        Command("file.sample", "Open the sample capture", window.open_sample, menu="File"),
        Command("file.save", "Save capture…", window.save_current, is_open, "Ctrl+S", "File", 1),
        Command("file.stop_saving", "Give up saving", window.saving.cancel, lambda: window.saving.busy),
        Command("file.close", "Close capture", window.close_current, is_open, "Ctrl+W", "File", 1),
        Command("file.reopen", "Undo close", window.closed.undo, window.closed.can_undo, "Ctrl+Shift+T", "File", 1),
        Command("file.quit", "Quit", lambda: _quit(window), shortcut="Ctrl+Q", menu="File", group=2),
    ]


def _quit(window: "Window") -> None:
    window.close()


def _model(window: "Window") -> list[Command]:
    """Commands for a model that runs: its kernel, and what is recorded of it."""
    desk, files = window.live, window.files

    def live() -> "Live | None":
        return files.current.live if files.current is not None else None

    def is_live() -> bool:
        return live() is not None

    def is_on(name: str) -> bool:
        return bool(getattr(live(), name, False))

    def switch(name: str) -> None:
        current = live()
        if current is not None:
            getattr(current, f"set_{name}")(not is_on(name))

    def clear() -> None:
        current = live()
        if current is not None:
            current.clear()

    def has_kernel() -> bool:
        return desk.kernel is not None

    def kernel(name: str) -> None:
        if desk.kernel is not None:
            getattr(desk.kernel, name)()

    def close_kernel() -> None:
        if desk.kernel is not None:
            desk.close_kernel(desk.kernel)

    return [
        Command("kernel.start", "Start a Python kernel", window.start_kernel, menu="Model"),
        Command("kernel.connect", "Connect to a running kernel…", window.ask_kernel, menu="Model"),
        Command("kernel.interrupt", "Interrupt the kernel", partial(kernel, "interrupt"), has_kernel, menu="Model"),
        Command("kernel.restart", "Restart the kernel", partial(kernel, "restart"), has_kernel, menu="Model"),
        Command("kernel.close", "End or leave the kernel", close_kernel, has_kernel, menu="Model"),
        *(
            Command(f"live.{name}", title, partial(switch, name), is_live, shortcut, "Model", 1, partial(is_on, name))
            for name, title, shortcut in (
                ("recording", "Record", "Ctrl+E"),
                ("paused", "Pause the display", ""),
                ("follow", "Follow the newest pass", ""),
                ("preserve", "Preserve log", ""),
            )
        ),
        Command("live.clear", "Clear", clear, is_live, menu="Model", group=1),
    ]


def _panels(window: "Window") -> list[Command]:
    workspace = window.workspace
    commands = []
    for panel_id, dock in workspace.docks.items():
        is_open = partial(workspace.is_open, panel_id)
        commands.append(
            Command(
                f"panel.{panel_id}",
                dock.spec.title,
                partial(_toggle, window, panel_id),
                partial(_can_show, window, panel_id),
                menu="View/Panels",
                checked=is_open,
            )
        )
    return commands


def _toggle(window: "Window", panel_id: str) -> None:
    if window.workspace.is_open(panel_id) and window.files.current is not None:
        window.workspace.close_panel(panel_id)
    else:
        window.show_panel(panel_id)


def _can_show(window: "Window", panel_id: str) -> bool:
    """Whether a panel has something to show: a panel for all sessions can be asked for before there is one."""
    return window.files.current is not None or window.workspace.docks[panel_id].spec.scope == "desk"


def _view(window: "Window") -> list[Command]:
    workspace, appearance = window.workspace, window.appearance
    zoom = appearance.step_zoom

    def is_open() -> bool:
        return window.files.current is not None

    themes = [
        Command(
            f"theme.{choice}",
            choice.capitalize(),
            partial(appearance.choose, choice),
            menu="View/Theme",
            checked=lambda choice=choice: appearance.choice == choice,  # type: ignore[misc]
        )
        for choice in CHOICES
    ]
    return [
        Command(
            "view.drawer", "Toggle drawer", workspace.toggle_drawer, lambda: bool(workspace.drawer), "Esc", "View", group=1
        ),
        Command("view.float", "Float panel, or put it back", workspace.float_panel, is_open, "Ctrl+Shift+D", "View", 1),
        Command("view.reset", "Reset layout", window.reset_layout, menu="View", group=1),
        *themes,
        Command("view.zoom_in", "Zoom in", partial(zoom, 1), shortcut="Ctrl++  Ctrl+=", menu="View", group=2),
        Command("view.zoom_out", "Zoom out", partial(zoom, -1), shortcut="Ctrl+-", menu="View", group=2),
        Command("view.zoom_reset", "Normal size", partial(zoom, 0), shortcut="Ctrl+0", menu="View", group=2),
        Command(
            "view.full_screen", "Full screen", window.toggle_full_screen, shortcut="F11  Shift+F11", menu="View", group=3,
            checked=window.isFullScreen,
        ),
    ]  # fmt: skip


def _replay(window: "Window") -> list[Command]:
    transport = window.transport

    def ready() -> bool:
        return transport.ready

    menu = "Go/Replay"
    return [
        Command("replay.toggle", "Play or pause", transport.toggle, ready, "F8", menu),
        Command("replay.next", "Next pass", partial(transport.step, 1), ready, "Ctrl+Right", menu),
        Command("replay.previous", "Previous pass", partial(transport.step, -1), ready, "Ctrl+Left", menu),
        Command("replay.first", "First pass", transport.to_first, ready, "Ctrl+Home", menu),
        Command("replay.last", "Last pass", transport.to_last, ready, "Ctrl+End", menu),
        Command("replay.leave", "Leave the replay", transport.leave, ready, "Shift+F8", menu),
    ]


def _go(window: "Window") -> list[Command]:
    workspace, palette, files = window.workspace, window.command_palette, window.files

    def is_open() -> bool:
        return files.current is not None

    shows = [
        Command(
            f"go.{panel_id}",
            f"Show {dock.spec.title}",
            partial(window.show_panel, panel_id),
            partial(_can_show, window, panel_id),
            dock.spec.shortcut,
            "Go",
            group=1,
        )
        for panel_id, dock in workspace.docks.items()
    ]
    return [
        Command("go.place", "Go to expert, pass, layer or module…", partial(palette.ask, ""), is_open, "Ctrl+P", "Go"),
        Command("go.command", "Run command…", partial(palette.ask, ">"), shortcut="Ctrl+Shift+P", menu="Go"),
        Command("go.find", "Find in panel", window.find_in_panel, is_open, "Ctrl+F", "Go"),
        *shows,
        Command("go.next_panel", "Next panel", partial(workspace.step_panel, 1), is_open, "Ctrl+]", "Go", 1),
        Command("go.previous_panel", "Previous panel", partial(workspace.step_panel, -1), is_open, "Ctrl+[", "Go", 1),
    ]


def _help(window: "Window") -> list[Command]:
    return [
        Command(
            "help.docs", "Documentation", window.show_documentation, lambda: documentation() is not None, menu="Help"
        ),
        Command("help.doctor", "Doctor: copy the state of this installation", window.copy_doctor, menu="Help"),
        Command("help.about", "About moedesk", window.show_about, menu="Help", group=1),
    ]
