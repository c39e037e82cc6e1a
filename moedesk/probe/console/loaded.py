"""A model and its tokenizer as ``moe.load`` gives them, loaded with a line that shows how far it is."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

from moedesk.probe.console.progress import ProgressLine

START = 'moe.load("sample"), then moe.attach()'
"""How to begin, for who has no model yet."""


class Loaded(NamedTuple):
    """A model and its tokenizer (or None); a pair with a short repr."""

    model: Any
    tokenizer: Any

    def __repr__(self) -> str:
        count = sum(parameter.numel() for parameter in self.model.parameters())
        tokenizer = "no tokenizer" if self.tokenizer is None else "its tokenizer"
        return f"{type(self.model).__name__} · {count:,} parameters · {_dtypes(self.model)} · {tokenizer}"


def load_with_progress(name: str | Path, **options: Any) -> Loaded:
    """Load a model and its tokenizer from this machine, as ``probe.load.load`` does, and show the progress in a line."""
    what = Path(name).name or str(name)
    line = ProgressLine(f"loading {what}", "of the weights")
    try:
        line(0)  # what is imported next takes seconds as well
        with warnings.catch_warnings():  # of tqdm, about widgets for the bars that aren't shown
            warnings.filterwarnings("ignore", "IProgress not found")
            from moedesk.probe.load import load
        loaded = Loaded(*load(name, line, **options))
    except BaseException:
        line.stop()
        raise
    line.done(f"loaded {what}")
    return loaded


def _dtypes(model: Any) -> str:
    """Dtypes of a model's parameters."""
    return ", ".join(sorted({str(parameter.dtype).removeprefix("torch.") for parameter in model.parameters()}))
