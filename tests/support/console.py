"""``moe`` over a link server of its own, an IPython shell of its own, and a tokenizer of letters."""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from moedesk.link.server import LinkServer
from moedesk.probe.console.greeting import unload_ipython_extension
from moedesk.probe.console.moe import Moe
from moedesk.probe.finding.names import Names


@contextmanager
def own_moe(names: dict[str, Any] | None = None) -> Iterator[Moe]:
    """``moe`` as a notebook has it, with nothing attached before or after."""
    server = LinkServer()
    moe = Moe(Names({} if names is None else names), lambda: server)
    try:
        yield moe
    finally:
        moe.close()
        server.close()


@contextmanager
def own_shell(folder: Path, monkeypatch: Any) -> Iterator[InteractiveShell]:
    """An IPython shell in this process, which is *the* shell as long as it lives."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    monkeypatch.setenv("IPYTHONDIR", str(folder))
    shell = InteractiveShell.instance(config=config)
    try:
        yield shell
    finally:
        unload_ipython_extension(shell)
        shell.atexit_operations()
        atexit.unregister(shell.atexit_operations)
        shell.restore_sys_module_state()
        InteractiveShell.clear_instance()


class Letters:
    """A tokenizer for models without one: a letter is a token."""

    eos_token_id: int | None = 2
    pad_token_id: int | None = None
    chat_template = "Q{} A"
    all_special_ids = (0, 1, 2)

    def __len__(self) -> int:
        return 101

    def __call__(self, text: str, add_special_tokens: bool = True) -> Any:
        return SimpleNamespace(input_ids=[3 + ord(letter) % 98 for letter in text])

    def decode(self, ids: np.ndarray, skip_special_tokens: bool = False) -> str:
        return "".join(chr(96 + int(i)) for i in ids if not (skip_special_tokens and i in self.all_special_ids))

    def apply_chat_template(self, said: Any, add_generation_prompt: bool, tokenize: bool) -> str:
        assert add_generation_prompt
        assert not tokenize
        return self.chat_template.format(said[0]["content"])

    def convert_ids_to_tokens(self, i: int) -> str:
        return chr(96 + i)
