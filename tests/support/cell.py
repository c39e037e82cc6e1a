"""Code run in a real kernel, as a console would, while the test's event loop goes on."""

import contextlib
import queue
import threading
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_core.utils import ensure_event_loop

from tests.support.until import PATIENCE


class Cell:
    """One cell, sent from a thread of its own.

    Attributes
    ----------
    done : bool
    output : str
        What it printed, and its result as text.
    error : str
        Type and value of what it raised; empty if nothing.
    """

    def __init__(self, connection_file: Path, code: str) -> None:
        self.done, self.output, self.error = False, "", ""
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(connection_file, code), name="cell", daemon=True)
        self._thread.start()

    def abandon(self) -> None:
        """Wait no longer: its kernel was killed."""
        self._abandoned.set()
        self.join()

    def join(self) -> "Cell":
        self._thread.join(PATIENCE)
        assert self.done, "the cell did not end"
        return self

    def _run(self, connection_file: Path, code: str) -> None:
        loop = ensure_event_loop()  # Jupyter makes one for each thread, and leaves it open
        client = BlockingKernelClient(connection_file=str(connection_file))
        client.load_connection_file()
        client.start_channels(stdin=False, hb=False, control=False)
        try:
            client.wait_for_ready(timeout=PATIENCE)
            content = self._reply(client, client.execute(code, allow_stdin=False))
            if content["status"] != "ok":
                self.error = f"{content.get('ename')}: {content.get('evalue')}"
        except Exception as error:  # the kernel was killed, as some tests want
            self.error = f"{type(error).__name__}: {error}"
        finally:
            client.stop_channels()
            client.context.destroy(linger=0)
            loop.close()
            self.done = True

    def _reply(self, client: BlockingKernelClient, request: str) -> dict[str, Any]:
        while not self._abandoned.is_set():
            with contextlib.suppress(queue.Empty):
                reply = client.get_shell_msg(timeout=0.1)
                if reply["parent_header"].get("msg_id") == request:
                    while not self._take(client.get_iopub_msg(timeout=PATIENCE), request):
                        pass
                    return dict(reply["content"])
        raise InterruptedError("abandoned")

    def _take(self, message: dict[str, Any], request: str) -> bool:
        """Take one message; return whether it says that the request is done."""
        content, kind = message["content"], message["msg_type"]
        if message["parent_header"].get("msg_id") != request:
            return False
        if kind == "stream":
            self.output += content["text"]
        elif kind == "execute_result":
            self.output += content["data"].get("text/plain", "")
        return bool(kind == "status" and content["execution_state"] == "idle")
