"""moedesk in an IPython kernel: its names, ``$0``, and the greeting of an app that connects."""

import os
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

import moedesk
from moedesk.core.errors import MoedeskError
from moedesk.link.machine import machine_identity
from moedesk.link.protocol import PROTOCOL
from moedesk.probe.console.complete import selection_matcher
from moedesk.probe.console.dollars import DollarTransformer
from moedesk.probe.console.expressions import Expressions
from moedesk.probe.console.faults import watch_faults
from moedesk.probe.console.moe import Moe
from moedesk.probe.console.reveal import Inspect
from moedesk.probe.console.selected import Selections
from moedesk.probe.console.selected_stop import selected_stop
from moedesk.probe.console.tasks import Function, Result, Tasks
from moedesk.probe.console.turns import Turns
from moedesk.probe.finding.names import Names

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from moedesk.link.server import LinkServer


class Console:
    """What moedesk adds to one IPython shell.

    Parameters
    ----------
    shell : InteractiveShell
    open_server : function
        Gives the process's link server.

    Attributes
    ----------
    moe : Moe
    selections : Selections
    """

    def __init__(self, shell: "InteractiveShell", open_server: Callable[[], "LinkServer"]) -> None:
        self._shell = shell
        self._names = Names(shell.user_ns)
        self.moe = Moe(self._names, open_server)
        self.selections = Selections(self.moe)
        self._expressions = Expressions(shell.user_ns)
        self._matcher = selection_matcher(self.selections)
        self._tasks = Tasks(Turns.of(shell), lambda: self.moe.server)
        self._orders: dict[str, Callable[[Mapping[str, Any]], None]] = {}
        self.moe.show_stop = lambda stop: self.selections.put(selected_stop(self.moe, stop))
        self.moe.may_ask = lambda: not self._tasks.busy
        self.moe.override_link.turns = Turns.of(shell)
        self.on_order("overrides", self.moe.override_link.order)
        self.on_task("before_after", lambda value, progress: self.moe.do_before_after(value, progress))
        self.on_task("why", lambda value, progress: self.moe.do_why(value, progress))
        self.on_task("attribute", lambda value, progress: self.moe.do_attribute(value, progress))
        self.on_task("counterfactual", lambda value, progress: self.moe.do_counterfactual(value, progress))
        self.on_order("breakpoints", self.moe.order_breakpoints)
        self.on_order("stopped", self.moe.order_on)

    def open(self) -> list[str]:
        """Put the names in place, and have ``$0`` understood; return a line about each name that is taken."""
        transformers = self._shell.input_transformer_manager.token_transformers
        if DollarTransformer not in transformers:
            transformers.append(DollarTransformer)
        matchers = self._shell.Completer.custom_matchers
        if self._matcher not in matchers:
            matchers.append(self._matcher)
        self._shell.events.register("post_run_cell", self._cell_ended)
        ours = {
            "moe": self.moe,
            "moedesk": moedesk,
            "np": np,
            "sel": self.selections,
            "inspect": Inspect(self.moe) if not self._names.owns("inspect") else self._shell.user_ns["inspect"],
        }
        taken = [name for name, value in ours.items() if not self._names.offer(name, value)]
        return [f"{name} is a variable of yours, and stays as it is{_INSTEAD.get(name, '')}" for name in taken]

    def close(self) -> None:
        """Take back all that was added, and detach the model."""
        transformers = self._shell.input_transformer_manager.token_transformers
        if DollarTransformer in transformers:
            transformers.remove(DollarTransformer)
        if self._matcher in self._shell.Completer.custom_matchers:
            self._shell.Completer.custom_matchers.remove(self._matcher)
        with suppress(ValueError):  # never opened
            self._shell.events.unregister("post_run_cell", self._cell_ended)
        self._names.withdraw()
        self._expressions.close()
        self._tasks.close()
        self.moe.close()

    def link(self) -> "LinkServer":
        """Return the link, with this shell answering what apps ask."""
        server = self.moe.server
        server.on("record", self._record)
        server.on("selection", self._selected)
        server.on("evaluate", self._evaluate)
        server.on("order", self._ordered)
        server.on("task", self._tasks.take)
        server.on_leave(self._tasks.leave)
        return server

    def on_order(self, topic: str, handler: Callable[[Mapping[str, Any]], None]) -> None:
        """Have orders of a topic handled, on the link's thread, also while a cell runs: be quick.

        What becomes of one is told (``moe.server.tell(topic, value)``), a mistake in it too.
        """
        self._orders[topic] = handler

    def on_task(self, name: str, function: Function) -> None:
        """Have tasks of a name done by a function, in the main thread between cells; see ``Tasks``.

        Those about another model than ``moe``'s are refused.
        """

        def of_our_model(value: Mapping[str, Any], progress: Callable[[float, str], None]) -> Result:
            self._check_model(value.get("stream"))
            return function(value, progress)

        self._tasks.on(name, of_our_model)

    def _check_model(self, stream: object) -> None:
        from moedesk.probe.attach import attachment_at

        attachment = attachment_at(stream)
        if attachment is not None and attachment.module is not self.moe.model:
            raise MoedeskError(
                f"moe has another model than this session's; type moe.attach(model) with {attachment.name}"
            )

    def _cell_ended(self, _: object) -> None:
        self.moe.tell_hits()

    def _record(self, client: int, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        from moedesk.probe.attach import attachment_at

        attachment = attachment_at(fields["stream"])
        if attachment is not None:
            attachment.set_recording(bool(fields["on"]))

    def _selected(self, client: int, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self.selections.take(fields, arrays)

    def _ordered(self, client: int, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        topic, value = fields["topic"], fields["value"]
        if topic == "cancel":
            self._tasks.cancel(client, int(value["request"]))
        elif topic in self._orders:
            self._orders[topic](value)

    def _evaluate(self, client: int, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        request, server = int(fields["request"]), self.moe.server
        self._expressions.ask(
            (client, request), str(fields["text"]), lambda text, ok: server.answer(client, request, text, ok)
        )


_INSTEAD = {
    "sel": "; $0 needs it: rename yours, then %reload_ext moedesk",
    "inspect": "; moe.inspect(x) shows x in the app",
    "moe": "; rename yours, then %reload_ext moedesk",
}
_consoles: dict[int, Console] = {}  # by the shell's id; a process has one shell, as a rule


def load_ipython_extension(ipython: "InteractiveShell") -> None:
    """Put ``moe``, ``moedesk``, ``np``, ``sel`` and ``inspect`` into a shell: ``%load_ext moedesk``."""
    _, taken = _open(ipython)
    for line in taken:
        print(line)


def unload_ipython_extension(ipython: "InteractiveShell") -> None:
    """Take them back, and detach the model: ``%unload_ext moedesk``."""
    console = _consoles.pop(id(ipython), None)
    if console is not None:
        console.close()


def greet(client_public_key: str, machine: str) -> dict[str, Any]:
    """Let an app in that connects to this kernel, and say where it finds the link.

    Also does what ``%load_ext moedesk`` does.

    Parameters
    ----------
    client_public_key : str
        The app's CURVE key (Z85); only apps that could run this function are let in.
    machine : str
        The app's ``link.machine.machine_identity()``: on the same machine the link is a local socket, else an encrypted one on
        127.0.0.1, at the port that ``MOEDESK_LINK_PORT`` names if it is set, for a tunnel.

    Returns
    -------
    dict
        ``python``, ``moedesk``, ``protocol``, ``pid``, ``machine``, ``address``, ``server_key``, ``cwd``, and ``notes``: lines
        for the user.

    Raises
    ------
    MoedeskError
        If this is no IPython shell, or the link can't listen.
    """
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None:
        raise MoedeskError("this process is no IPython kernel; attach from a Jupyter kernel")
    watch_faults()
    console, taken = _open(shell)
    here = machine_identity()
    server = console.link()
    server.allow(client_public_key)
    endpoint = server.listen_local() if machine == here else server.listen_tcp("127.0.0.1", _port())
    return {
        "python": platform.python_version(),
        "moedesk": moedesk.__version__,
        "protocol": PROTOCOL,
        "pid": os.getpid(),
        "machine": here,
        "address": endpoint.address,
        "server_key": endpoint.server_key,
        "cwd": os.getcwd(),  # noqa: PTH109 - a plain text
        "notes": taken,
    }


def _open(shell: "InteractiveShell") -> tuple[Console, list[str]]:
    console = _consoles.get(id(shell))
    if console is None:
        from moedesk.link.own_server import own_server

        console = _consoles[id(shell)] = Console(shell, own_server)
    return console, console.open()


def _port() -> int:
    """The port of the encrypted link; 0 for any."""
    given = os.environ.get("MOEDESK_LINK_PORT", "0")
    if not given.isdigit() or int(given) > 65535:
        raise MoedeskError(f"MOEDESK_LINK_PORT is {given!r}; set it to a port number, or leave it out")
    return int(given)
