"""Code run in a real kernel, as a console would, while the test's event loop goes on."""

import threading
from pathlib import Path

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_core.utils import ensure_event_loop

SECONDS = 120


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
        self._thread = threading.Thread(target=self._run, args=(connection_file, code), name="cell", daemon=True)
        self._thread.start()

    def join(self) -> "Cell":
        self._thread.join(SECONDS)
        assert self.done, "the cell did not end"
        return self

    def _run(self, connection_file: Path, code: str) -> None:
        loop = ensure_event_loop()  # Jupyter makes one for each thread, and leaves it open
        client = BlockingKernelClient(connection_file=str(connection_file))
        client.load_connection_file()
        client.start_channels(stdin=False, hb=False, control=False)
        try:
            client.wait_for_ready(timeout=SECONDS)
            reply = client.execute_interactive(code, output_hook=self._take, timeout=SECONDS, allow_stdin=False)
            content = reply["content"]
            if content["status"] != "ok":
                self.error = f"{content.get('ename')}: {content.get('evalue')}"
        except Exception as error:  # the kernel was killed, as some tests want
            self.error = f"{type(error).__name__}: {error}"
        finally:
            client.stop_channels()
            client.context.destroy(linger=0)
            loop.close()
            self.done = True

    def _take(self, message: dict) -> None:  # type: ignore[type-arg]
        content = message["content"]
        if message["msg_type"] == "stream":
            self.output += content["text"]
        elif message["msg_type"] == "execute_result":
            self.output += content["data"].get("text/plain", "")
