"""Loads a model and its tokenizer from this machine: never from the network."""

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


def load(name: str | Path) -> tuple[nn.Module, Any]:
    """Load a model, in evaluation mode, and its tokenizer (None if it has none).

    Parameters
    ----------
    name : str or path-like
        ``sample`` or ``sample-sick`` (float32, as their reference counts), a folder, or the name of a model in the local
        Hugging Face cache (dtype as stored).

    Raises
    ------
    MoedeskError
        If it isn't on this machine, or can't be loaded.
    """
    shipped = SAMPLES.get(str(name))
    source = str(resource("sample", shipped)) if shipped else str(name)
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        model = _load_model(source, torch.float32 if shipped else "auto")
        return model.eval(), load_tokenizer(source)
    except OSError:
        raise MoedeskError(
            f"no model {source!r} on this machine; give a folder that holds one, or one of {', '.join(SAMPLES)}"
        ) from None
    except (ValueError, ImportError, KeyError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MoedeskError(f"{source} can't be loaded as a transformers model: {reason}") from None
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()


def _load_model(source: str, dtype: torch.dtype | str) -> Any:
    config = AutoConfig.from_pretrained(source, local_files_only=True)
    for auto in (AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModel):
        if type(config) in auto._model_mapping:
            return auto.from_pretrained(source, dtype=dtype, local_files_only=True)
    raise ValueError(f"{type(config).__name__} has no model class here")


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
