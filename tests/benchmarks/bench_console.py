"""How long the console holds up the window: output floods, long lines, completion.

Run by hand: ``python tests/benchmarks/bench_console.py``. A timer that should fire every millisecond tells by how much the event
loop came late. Beside it the processor time of the longest turn of the loop, which other programs on the machine change less.
"""

import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from moedesk.link.kernel_process import KernelProcess
from moedesk.panels.console.view_terminal import Terminal
from moedesk.ui.theme import LIGHT

CELLS = {
    "nothing (a short cell)": "1 + 1",
    "100,000 lines": "for i in range(100_000): print('line', i)",
    "100,000 lines again, the buffer full": "for i in range(100_000): print('line', i)",
    "20,000 coloured lines": r"for i in range(20_000): print('\x1b[31mred', i, '\x1b[0m')",
    "5,000 lines, a message each": "for i in range(5_000): print('line', i, flush=True)",
    "a line of 2,000,000 characters": "print('x' * 2_000_000)",
    "a value of 3,000,000 characters": "'y' * 3_000_000",
    "a progress bar, 300 times redrawn": r"for i in range(300): print(f'\r{i} %', end='', flush=True)",
}


class Beat:
    """Measures how late a timer of one millisecond fires."""

    def __init__(self) -> None:
        self._timer = QTimer(interval=1)
        self._timer.timeout.connect(self._fire)
        self._timer.start()
        self.reset()

    def reset(self) -> None:
        self.late_ms: list[float] = []
        self.busy_ms: list[float] = []
        self._wall, self._cpu = time.perf_counter(), time.thread_time()

    def _fire(self) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        self.late_ms.append(1e3 * (wall - self._wall) - 1)
        self.busy_ms.append(1e3 * (cpu - self._cpu))
        self._wall, self._cpu = wall, cpu

    def __str__(self) -> str:
        late, busy = sorted(self.late_ms), sorted(self.busy_ms)
        p99 = late[int(len(late) * 0.99)]
        return f"late: worst {late[-1]:5.0f} ms, 99 % {p99:4.0f} ms; longest turn {busy[-1]:5.1f} ms of processor time"


def main() -> None:
    if "--switch" in sys.argv:
        sys.setswitchinterval(0.0005)
    application = QApplication([])
    terminal = Terminal(LIGHT)
    terminal.resize(900, 400)
    terminal.show()
    process = KernelProcess(sys.executable, lambda ending: None)
    beat = Beat()

    def until(condition: Callable[[], object]) -> None:
        end = time.monotonic() + 120
        while not condition():
            if time.monotonic() > end:
                raise SystemExit("it did not come about within two minutes")
            application.processEvents()
            time.sleep(0.0002)

    def run(code: str) -> float:
        done: list[object] = []
        connection = terminal.executed.connect(done.append)
        beat.reset()
        start = time.perf_counter()
        terminal.execute(code)
        until(lambda: done and not terminal.waiting)
        terminal.executed.disconnect(connection)
        return time.perf_counter() - start

    terminal.connect_to(process.connection_file)
    until(lambda: "In [" in terminal._prompt and not terminal._executing)
    print(f"{os.getloadavg()[0]:.1f} programs were running on {os.cpu_count()} cores in the last minute")
    for name, code in CELLS.items():
        seconds = run(code)
        print(f"{name:38} {seconds:6.2f} s  {beat}")
    run("import torch")
    terminal.input_buffer = "torch."
    beat.reset()
    terminal._complete()
    until(lambda: terminal._completion_widget.count())
    until(lambda: len(beat.late_ms) > 100)
    print(f"{'completion of torch.':38} {terminal._completion_widget.count():6} entries  {beat}")
    terminal._completion_widget.hide()
    terminal.disconnect_from()
    process.stop()
    terminal.deleteLater()


if __name__ == "__main__":
    main()
