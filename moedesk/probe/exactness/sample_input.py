"""A small batch that a model can be tried with."""

import inspect
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from moedesk.core.errors import MoedeskError
from moedesk.core.resources import resource
from moedesk.probe.exactness.text_batch import encode, input_device, pad_id, padded

LENGTHS = (32, 21)
"""Tokens of each sequence; the shorter one is padded on the right, where a causal model doesn't look."""
TEXTS = ("english", "python")
"""Shipped texts that the tokens come from, where there is a tokenizer."""

TOKEN_ARGUMENTS = ("input_ids", "idx", "tokens", "x")
"""What the argument is called that takes token ids; the last three in models of one's own."""


def token_argument(names: Collection[str]) -> str:
    """Return which of the arguments of a model's forward takes token ids; empty if none does."""
    return next((name for name in TOKEN_ARGUMENTS if name in names), "")


def sample_input(model: nn.Module, tokenizer: Any = None) -> tuple[dict[str, Any], str]:
    """Return the arguments of a small forward, and what they are in a few words.

    Parameters
    ----------
    model : Module
    tokenizer : transformers tokenizer, optional
        Random ids of the vocabulary are taken without.

    Raises
    ------
    MoedeskError
        If the model doesn't take token ids.
    """
    names, more = _arguments(model)
    argument = token_argument(names)
    if not argument or (argument != "input_ids" and _embedding(model) is None):
        raise MoedeskError(
            f"{type(model).__name__} takes no input_ids; give it what it takes: inputs={{{next(iter(names), 'x')!r}: …}}"
        )
    rows, words = _text_rows(model, tokenizer) if tokenizer is not None else _random_rows(model)
    ids, mask = padded(rows, pad_id(model, tokenizer), left=False)
    device = input_device(model)
    inputs: dict[str, Any] = {argument: torch.from_numpy(ids).to(device)}
    if "attention_mask" in names:
        inputs["attention_mask"] = torch.from_numpy(mask).to(device)
    else:
        inputs[argument] = inputs[argument][:, : min(LENGTHS)]
    if "decoder_input_ids" in names:
        inputs["decoder_input_ids"] = inputs["input_ids"][:, : min(len(row) for row in rows)].flip(0)
    config: Any = getattr(model, "config", None)
    if "use_cache" in names or (more and hasattr(config, "use_cache")):
        inputs["use_cache"] = False  # blocks run more than once; a cache would grow each time
    return inputs, f"{len(rows)} sequences of {' and '.join(str(len(row)) for row in rows)} {words}"


def _arguments(model: nn.Module) -> tuple[list[str], bool]:
    """Names of a model's arguments, and whether it takes any others."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    named = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _text_rows(model: nn.Module, tokenizer: Any) -> tuple[list[Any], str]:
    size = _vocabulary_size(model)
    texts = [resource("sample", "domains", name, "01.txt").read_text(encoding="utf-8") for name in TEXTS]
    rows = [encode(tokenizer, text[: 16 * n])[:n] for text, n in zip(texts, LENGTHS, strict=True)]
    if any(int(row.max()) >= size for row in rows):
        return _random_rows(model)
    return rows, "tokens of English and Python"


def _random_rows(model: nn.Module) -> tuple[list[Any], str]:
    config: Any = getattr(model, "config", None)
    values: dict[str, Any] = config.to_dict() if hasattr(config, "to_dict") else {}
    given = [value for name, value in values.items() if name.endswith(("token_id", "token_index"))]
    special = {token for value in given for token in (value if isinstance(value, list) else [value])}
    allowed = torch.tensor([token for token in range(_vocabulary_size(model)) if token not in special])
    generator = torch.Generator().manual_seed(0)
    rows = [allowed[torch.randint(len(allowed), (n,), generator=generator)].numpy() for n in LENGTHS]
    return rows, "random tokens"


def _vocabulary_size(model: nn.Module) -> int:
    embedding = _embedding(model)
    size = getattr(embedding, "num_embeddings", None) or getattr(getattr(model, "config", None), "vocab_size", None)
    if not isinstance(size, int) or size < 2:
        raise MoedeskError(
            f"the size of {type(model).__name__}'s vocabulary is not known; give inputs={{'input_ids': …}}"
        )
    return size


def _embedding(model: nn.Module) -> nn.Module | None:
    """What embeds token ids: what the model says, or the first embedding in it."""
    get: Any = getattr(model, "get_input_embeddings", None)
    if get is not None:
        found: nn.Module | None = get()
        return found
    return next((module for module in model.modules() if isinstance(module, nn.Embedding)), None)
