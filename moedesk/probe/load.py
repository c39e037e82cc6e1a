"""Loads a model and its tokenizer from this machine: never from the network."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.utils import cached_file

from moedesk.core.errors import MoedeskError
from moedesk.core.resources import resource

SAMPLES = {"sample": "tinymoe", "sample-sick": "tinymoe-sick"}
"""Names of the shipped models."""

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")


def load(name: str | Path, progress: Callable[[float], None] | None = None, **options: Any) -> tuple[nn.Module, Any]:
    """Load a model, in evaluation mode, and its tokenizer (None if it has none).

    Parameters
    ----------
    name : str or path-like
        ``sample`` or ``sample-sick`` (float32, as their reference counts), a folder, or the name of a model in the local
        Hugging Face cache (dtype as stored).
    progress : function, optional
        Called with the share of the weights that is loaded, 0 to 1.
    **options
        More arguments of ``from_pretrained``, such as ``dtype`` or ``device_map``.

    Raises
    ------
    MoedeskError
        If it isn't on this machine, or can't be loaded.
    """
    shipped = SAMPLES.get(str(name))
    source = str(resource("sample", shipped)) if shipped else str(name)
    options = {"dtype": torch.float32 if shipped else "auto", **options}
    try:
        with _bars_to(progress):
            return _load_model(source, options).eval(), load_tokenizer(source)
    except OSError:
        raise MoedeskError(
            f"no model {source!r} on this machine; give a folder that holds one, a model that was fetched with "
            f"`hf download`, or one of {', '.join(SAMPLES)}"
        ) from None
    except (ValueError, ImportError, KeyError, RuntimeError) as error:
        raise _unreadable(source, error) from None


def load_or_make(name: str | Path) -> tuple[nn.Module, Any, str]:
    """Load a model and its tokenizer; of a folder with a configuration but no weights, make one with random weights.

    Returns
    -------
    model : Module
        In evaluation mode.
    tokenizer : transformers tokenizer or None
    note : str
        Says so if its weights are random; else empty.

    Raises
    ------
    MoedeskError
        As ``load``.
    """
    folder = Path(name)
    if not (folder / "config.json").is_file() or any(folder.glob("*.safetensors")) or any(folder.glob("*.bin")):
        return *load(name), ""
    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
        torch.manual_seed(0)
        model = _auto_class(config).from_config(config).eval()
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        raise _unreadable(str(folder), error) from None
    return model, load_tokenizer(str(folder)), "the folder holds no weights: the model was made with random ones"


def _unreadable(source: str, error: Exception) -> MoedeskError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return MoedeskError(f"{source} can't be loaded as a transformers model: {reason}")


def _load_model(source: str, options: dict[str, Any]) -> Any:
    config = AutoConfig.from_pretrained(source, local_files_only=True)
    return _auto_class(config).from_pretrained(source, local_files_only=True, **options)


def _auto_class(config: Any) -> Any:
    """The class that makes the model of a configuration: one that generates, if there is one."""
    for auto in (AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModel):
        if type(config) in auto._model_mapping:
            return auto
    raise ValueError(f"{type(config).__name__} has no model class here")


class _Counted(transformers.utils.logging.EmptyTqdm):
    """Stands in for a progress bar of transformers: shows nothing, and tells how far its iterable is."""

    def __init__(self, progress: Callable[[float], None], items: Sequence[Any]) -> None:
        super().__init__(items)
        self._progress, self._items = progress, items

    def __iter__(self) -> Iterator[Any]:
        for done, item in enumerate(self._items):
            yield item
            self._progress((done + 1) / len(self._items))


@contextmanager
def _bars_to(progress: Callable[[float], None] | None) -> Iterator[None]:
    """Show none of the bars of transformers, and tell ``progress`` what they would have shown."""
    logging = transformers.utils.logging

    def counted(factory: Any, args: Any, kwargs: Any) -> Any:
        sized = bool(args) and hasattr(args[0], "__len__")
        return _Counted(progress, args[0]) if progress is not None and sized else factory(*args, **kwargs)

    shown = logging.is_progress_bar_enabled()
    before = logging.set_tqdm_hook(counted)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_tqdm_hook(before)
        if shown:
            logging.enable_progress_bar()


def load_tokenizer(source: str) -> Any:
    """Return the tokenizer stored with a model on this machine, or None."""
    try:
        if not any(_has_file(source, name) for name in _TOKENIZER_FILES):
            return None  # transformers would make up an empty one
        return AutoTokenizer.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError):
        return None


def _has_file(source: str, name: str) -> bool:
    return bool(
        cached_file(
            source,
            name,
            local_files_only=True,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    )
