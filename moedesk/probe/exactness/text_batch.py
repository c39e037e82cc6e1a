"""Texts as a padded batch of token ids, for models of any kind."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from moedesk.core.errors import MoedeskError

if TYPE_CHECKING:
    import torch


def input_device(model: Any) -> "torch.device":
    """Return where token ids go: to the embedding, wherever the rest of the model lies."""
    import torch

    embedding = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    owner = embedding if embedding is not None else model
    device = next((parameter.device for parameter in owner.parameters()), torch.device("cpu"))
    if device.type != "meta":
        return device
    hook = getattr(owner, "_hf_hook", None)  # offloaded by accelerate: it knows where the embedding runs
    return torch.device(getattr(hook, "execution_device", None) or "cpu")


def encode(tokenizer: Any, text: str, chat: bool = False) -> npt.NDArray[np.int64]:
    """Return the token ids of a text.

    Raises
    ------
    MoedeskError
        If it has none, or there is no chat template.
    """
    if chat:
        if not getattr(tokenizer, "chat_template", None):
            raise MoedeskError("this tokenizer has no chat template; leave chat=True out")
        said = [{"role": "user", "content": text}]
        text = tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
    ids = np.array(tokenizer(text, add_special_tokens=not chat).input_ids, np.int64)
    if not len(ids):
        raise MoedeskError(f"{text!r} has no tokens; give the model something to read")
    return ids


def pad_id(model: Any, tokenizer: Any) -> int:
    """Return what fills shorter rows; masked, so any id will do where a model has none."""
    generation = getattr(model, "generation_config", None)
    for owner, name in ((tokenizer, "pad_token_id"), (generation, "pad_token_id"), (tokenizer, "eos_token_id")):
        value = getattr(owner, name, None)
        if isinstance(value, int):
            return value
    return 0


def padded(
    rows: Sequence[npt.NDArray[np.int64]], pad: int, left: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return ids and attention mask, (rows, longest). A decoder goes on at the right end, so it is padded on the left."""
    longest = max(len(row) for row in rows)
    ids, mask = np.full((len(rows), longest), pad, np.int64), np.zeros((len(rows), longest), np.int64)
    for place, row in enumerate(rows):
        span = slice(longest - len(row), None) if left else slice(len(row))
        ids[place, span], mask[place, span] = row, 1
    return ids, mask
