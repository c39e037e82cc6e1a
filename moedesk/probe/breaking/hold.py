"""Holds the model's thread at a stop until it may go on: by a line typed at the prompt, or an order from an app."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from enum import StrEnum
from typing import Any

from moedesk.core.errors import MoedeskError
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.breaking.prompt import HELP, KernelPrompt, run_code
from moedesk.probe.breaking.stop import Locals, Stop

POLL_SECONDS = 0.25
"""Between two looks at whether an app is still there."""


class Going(StrEnum):
    """How the model goes on."""

    RESUME = "resume"
    STEP_LAYER = "step_layer"
    STEP_TOKEN = "step_token"


_COMMANDS = {
    "c": Going.RESUME, "continue": Going.RESUME, "s": Going.STEP_LAYER, "step": Going.STEP_LAYER,
    "n": Going.STEP_TOKEN, "next": Going.STEP_TOKEN,
}  # fmt: skip


class _Left(KeyboardInterrupt):
    """The cell is left at a stop: shown in one line, not with the model's whole stack."""

    def _render_traceback_(self) -> list[str]:
        return [f"KeyboardInterrupt: {self}"]


_Left.__name__ = "KeyboardInterrupt"  # which is what frontends are told


_one = threading.Lock()
"""Held while a model stands: the prompt, and the names of the stop, are the process's."""


def one_stands() -> bool:
    """Whether a model of this process stands at a breakpoint."""
    return _one.locked()


class Hold:
    """Where a model's thread waits. In a process one model stands at a time.

    Parameters
    ----------
    namespace : mutable mapping
        The user's, in which typed code runs; the names of the stop are put there meanwhile.
    clients : function
        How many apps are connected.
    tell : function
        Tells the apps a topic.

    Attributes
    ----------
    stop : Stop or None
        Where the model stands.
    show : function
        Told of a stop, so that ``$0`` is its token.
    may_ask : function
        Whether a cell runs whose frontend can be asked for a line.
    """

    def __init__(
        self,
        namespace: MutableMapping[str, Any],
        clients: Callable[[], int],
        tell: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        self._namespace, self._clients, self._tell = namespace, clients, tell
        self.stop: Stop | None = None
        self.show: Callable[[Stop], None] = lambda stop: None
        self.may_ask: Callable[[], bool] = lambda: True
        self._orders: deque[Going] = deque()
        self._woken = threading.Event()
        self._said = self._had_app = False

    def order(self, going: Going) -> None:
        """Let the model go on, if it is stopped; from any thread."""
        if self.stop is not None:
            self._orders.append(going)
            self._woken.set()

    def at(self, stop: Stop) -> tuple[Going, Routing | None, int]:
        """Stop here; return how to go on, the routing if it was changed, and the nanoseconds that it took.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl+C, and on ``q``.
        """
        prompt = KernelPrompt.here() if self.may_ask() else None
        if prompt is None and not self._clients():
            if not self._said:
                self._said = True
                print(f"{stop.line()}: there is no prompt here and no app is connected, so the model goes on")
            return Going.RESUME, None, 0
        if not _one.acquire(blocking=False):  # another thread's model came first
            return Going.RESUME, None, 0
        try:
            return self._stand(stop, prompt)
        finally:
            _one.release()

    def _stand(self, stop: Stop, prompt: KernelPrompt | None) -> tuple[Going, Routing | None, int]:
        began = time.perf_counter_ns()
        local = Locals(stop)
        hidden = {name: self._namespace[name] for name in local.values if name in self._namespace}
        self._orders.clear()
        self._woken.clear()
        self.stop = stop
        try:
            self._namespace.update(local.values)
            self.show(stop)
            print(stop.line())
            self._tell("stopped", stop.told())
            going, routing = self._wait(stop, local, prompt)
            return going, routing, time.perf_counter_ns() - began
        except KeyboardInterrupt:
            raise _Left(f"left the pass at {stop.place}") from None
        finally:
            self.stop = None
            for name in local.values:
                self._namespace.pop(name, None)
            self._namespace.update(hidden)
            self._tell("stopped", {})

    def _wait(self, stop: Stop, local: Locals, prompt: KernelPrompt | None) -> tuple[Going, Routing | None]:
        self._had_app = False
        refused = ""
        while True:
            if self._app_is_gone():
                print(f"no app is connected any more: the model goes on from {stop.place}")
                going = Going.RESUME
            elif self._orders:
                going = self._orders.popleft()
            elif prompt is None:
                self._woken.wait(POLL_SECONDS)
                continue
            else:
                line = prompt.ask(f"stopped at {stop.place} > ", lambda: bool(self._orders) or self._app_is_gone())
                asked = None if line is None else self._take(line, stop)
                if asked is None:
                    continue
                going = asked
            try:
                return going, local.routing(self._namespace)
            except MoedeskError as error:
                print(f"{error}; nothing is changed")
                if prompt is None or str(error) == refused:  # resumed all the same: as it was
                    return going, None
                refused = str(error)

    def _app_is_gone(self) -> bool:
        """Whether an app was connected at this stop, and none is now."""
        connected = self._clients() > 0
        self._had_app |= connected
        return self._had_app and not connected

    def _take(self, line: str, stop: Stop) -> Going | None:
        """Do what a line says; return how the model goes on, if it does."""
        typed = line.strip()
        match typed:
            case "q" | "quit":
                raise KeyboardInterrupt
            case "h" | "help" | "?":
                print(HELP)
            case "w" | "where":
                print(stop.line())
            case "":
                pass
            case _ if typed in _COMMANDS:
                return _COMMANDS[typed]
            case _:
                run_code(typed.removeprefix("!"), self._namespace)
        return None
