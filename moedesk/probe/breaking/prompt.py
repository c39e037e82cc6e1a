"""The prompt at a stop: lines from the frontend of a Jupyter kernel, and what they are run as."""

import ast
import sys
import threading
import traceback
from collections.abc import Callable, MutableMapping
from typing import Any, Self

import zmq

from moedesk.core.errors import MoedeskError
from moedesk.probe.console.dollars import expand

POLL_MS = 20
HELP = """\
c, continue   go on to the next layer call in which something matches        F8
n, next       go on to the next token that matches                          F10
s, step       go on to the next MoE layer, with the same token              F11
w, where      say where the model is
q, quit       end the cell with KeyboardInterrupt
anything else is Python, with token, layer, expert, weight, margin, entropy, phase, position, ids, weights, logits, hidden;
what you give to ids or weights is what the experts get (!c is the variable c)"""


class KernelPrompt:
    """Asks the frontend of the running cell for lines, as ``input()`` does, but can be called off.

    Parameters
    ----------
    kernel : ipykernel.kernelbase.Kernel
    """

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    @classmethod
    def here(cls) -> Self | None:
        """Return the prompt of this process's kernel; None without one, for a cell whose frontend takes no input, and outside the
        main thread, which alone may use the kernel's sockets.
        """
        ipython = sys.modules.get("IPython.core.getipython")
        shell = ipython.get_ipython() if ipython is not None else None
        kernel = getattr(shell, "kernel", None)
        asks = getattr(kernel, "_allow_stdin", False) and getattr(kernel, "stdin_socket", None) is not None
        return cls(kernel) if asks and threading.current_thread() is threading.main_thread() else None

    def ask(self, prompt: str, called_off: Callable[[], bool]) -> str | None:
        """Return the line that was typed, or None if it was called off first.

        What ``ipykernel.kernelbase.Kernel._input_request`` does, but for ``called_off``. The protocol has no message that takes a
        request back: a reply that still comes is dropped with the next request, and frontends end their prompt with the cell.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl+C.
        """
        kernel = self._kernel
        stdin, session = kernel.stdin_socket, kernel.session
        sys.stdout.flush()
        sys.stderr.flush()
        while stdin.poll(0):  # replies that came too late
            stdin.recv_multipart(zmq.NOBLOCK)
        content = {"prompt": prompt, "password": False}
        ident = kernel._parent_ident["shell"]
        session.send(stdin, "input_request", content, kernel.get_parent("shell"), ident=ident)
        while not called_off():
            if not stdin.poll(POLL_MS):
                continue
            _, reply = session.recv(stdin, mode=zmq.NOBLOCK)
            if reply is not None and reply.get("msg_type") == "input_reply":
                return str(reply["content"].get("value", ""))
        return None


def run_code(code: str, namespace: MutableMapping[str, Any]) -> None:
    """Run a line and print the value of its last expression, or its error in one line.

    ``$0`` and magics work as in a cell.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl+C.
    """
    assert isinstance(namespace, dict)
    try:
        tree = ast.parse(_transformed(code))
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "<stopped>", "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<stopped>", "eval"), namespace)
            if value is not None:
                print(repr(value))
    except KeyboardInterrupt:
        raise
    except MoedeskError as error:
        print(f"{type(error).__name__}: {error}")
    except BaseException as error:  # SystemExit too: a line ends nothing
        print("".join(traceback.format_exception_only(error)).rstrip())


def _transformed(code: str) -> str:
    ipython = sys.modules.get("IPython.core.getipython")
    shell = ipython.get_ipython() if ipython is not None else None
    return str(shell.transform_cell(code)) if shell is not None else expand(code)
