"""The console panel over kernels alone, as fixtures too, and what a test does with it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from moedesk.core.event import Event
from moedesk.panels.console.view import ConsolePanel
from moedesk.panels.console.view_terminal import Terminal
from moedesk.session.jobs import Jobs
from moedesk.session.kernel import Kernel, KernelState
from moedesk.ui.delivery import Delivery
from moedesk.ui.theme import LIGHT, Theme
from tests.support.kernels import Receiver
from tests.support.leftovers import settle
from tests.support.stage import NotingShell
from tests.support.until import PATIENCE, until


class OneDesk:
    """Implements ``moedesk.session.desk.Desk`` for kernels alone."""

    session = None

    def __init__(self) -> None:
        self.delivery = Delivery()
        self.changed: Event[str] = Event()
        self.jobs = Jobs(self.delivery)
        self.kernels: list[Kernel] = []
        self.kernel: Kernel | None = None
        self._gone: list[Kernel] = []

    def start_kernel(self, python: str = "") -> Kernel:
        return self._add(Kernel(self.delivery, Receiver, python=python))  # type: ignore[arg-type]

    def connect_kernel(self, connection_file: Path, ssh: str = "") -> Kernel:
        return self._add(Kernel(self.delivery, Receiver, connection_file=connection_file, ssh=ssh))  # type: ignore[arg-type]

    def choose_kernel(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.changed.emit("kernels")

    def close_kernel(self, kernel: Kernel) -> None:
        self.kernels.remove(kernel)
        self._gone.append(kernel)
        self.kernel = self.kernels[-1] if self.kernels else None
        kernel.close()
        self.changed.emit("kernels")

    def shut_down(self) -> None:
        for kernel in list(self.kernels):
            self.close_kernel(kernel)
        assert all(kernel.join(PATIENCE) for kernel in self._gone)
        self.jobs.close()
        self.delivery.deleteLater()

    def _add(self, kernel: Kernel) -> Kernel:
        self.kernels.append(kernel)
        kernel.changed.connect(lambda _: self.changed.emit("kernels"))
        kernel.start()
        self.choose_kernel(kernel)
        return kernel


@contextmanager
def desk_with_kernel(qapp: QApplication) -> Iterator[OneDesk]:
    """A desk whose one kernel stays as it is."""
    desk = OneDesk()
    kernel = desk.start_kernel()

    def linked() -> bool:
        qapp.processEvents()
        return kernel.client is not None

    until(linked)
    yield desk
    desk.shut_down()
    settle()


class Console:
    """A console panel on a desk, and what a test does with it."""

    def __init__(self, qtbot: QtBot, desk: OneDesk, theme: Theme = LIGHT) -> None:
        self.qtbot = qtbot
        self.desk = desk
        self.shell = NotingShell(theme)
        self.panel = ConsolePanel(desk, self.shell)  # type: ignore[arg-type]
        self.panel.set_theme(theme)
        self.panel.resize(900, 400)
        self.disconnect = desk.changed.connect(lambda name: self.panel.refresh(frozenset({name})))
        self.panel.show()
        self.panel.refresh(frozenset({"session", "selection", "kernels"}))

    def __enter__(self) -> "Console":
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()
        self.panel.close()
        self.panel.deleteLater()
        settle()
        self.wait(lambda: not [t for t in threading.enumerate() if t.name == "moedesk-console-close"])

    def wait(self, condition: Callable[[], Any]) -> None:
        self.qtbot.waitUntil(lambda: bool(condition()))

    @property
    def terminal(self) -> Terminal:
        assert self.panel.terminal is not None
        return self.panel.terminal

    @property
    def text(self) -> str:
        return self.terminal._control.toPlainText()

    def wait_prompt(self) -> None:
        self.wait(
            lambda: self.panel.terminal is not None and "In [" in self.terminal._prompt and not self.terminal._executing
        )

    def run(self, code: str) -> None:
        """Run a cell and wait for its end."""
        done: list[object] = []
        connection = self.terminal.executed.connect(done.append)
        self.terminal.execute(code)
        self.wait(lambda: done and not self.terminal.waiting)
        self.terminal.executed.disconnect(connection)

    def wait_linked(self) -> None:
        kernel = self.desk.kernel
        assert kernel is not None
        self.wait(lambda: kernel.state is KernelState.READY and kernel.client is not None)
        self.wait_prompt()


@pytest.fixture(name="shared", scope="module")
def shared_desk(qapp: QApplication) -> Iterator[OneDesk]:
    with desk_with_kernel(qapp) as desk:
        yield desk


@pytest.fixture(name="console")
def linked_console(qtbot: QtBot, shared: OneDesk) -> Iterator[Console]:
    with Console(qtbot, shared) as console:
        console.wait_linked()
        yield console
