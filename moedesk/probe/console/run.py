"""``moe.run``: text in, a model's continuation out, and how long it took."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from moedesk.core.errors import MoedeskError
from moedesk.probe.console.picture import Picture
from moedesk.probe.exactness.text_batch import encode, input_device, pad_id, padded

SHOWN = 4
"""Texts of a batch that a repr shows."""
SHOWN_CHARACTERS = 400


@dataclass(frozen=True)
class Run:
    """What a model made of some texts.

    Attributes
    ----------
    prompts, texts : tuple of str
        What went in (without what a chat template adds) and what the model wrote, special tokens left out; a row for each text,
        or several with ``num_return_sequences``.
    prompt_ids, new_ids : tuple of (n,) int64 arrays
        Tokens of the prompt, and of the continuation with its end-of-sequence token; padding left out.
    seconds : float
        Time the model took, by a monotonic clock; on a GPU until the tokens were there.
    passes : int
        Forward passes that were recorded meanwhile; 0 where nothing is attached.
    picture : Picture or None
        Load of every expert in this run; None where nothing is attached, or the counts had not arrived within a second.
    """

    prompts: tuple[str, ...]
    texts: tuple[str, ...]
    prompt_ids: tuple[npt.NDArray[np.int64], ...]
    new_ids: tuple[npt.NDArray[np.int64], ...]
    seconds: float
    passes: int = 0
    picture: Picture | None = None

    @property
    def prompt(self) -> str:
        """The first prompt."""
        return self.prompts[0]

    @property
    def text(self) -> str:
        """What the model wrote after the first prompt."""
        return self.texts[0]

    @property
    def token_ids(self) -> tuple[npt.NDArray[np.int64], ...]:
        """Prompt and continuation of each row."""
        return tuple(np.concatenate(pair) for pair in zip(self.prompt_ids, self.new_ids, strict=True))

    @property
    def new_tokens(self) -> int:
        """New tokens of all rows."""
        return sum(len(ids) for ids in self.new_ids)

    @property
    def tokens_per_second(self) -> float:
        """New tokens of all rows over all the time, the prompt's pass included."""
        return self.new_tokens / self.seconds if self.seconds else 0.0

    @property
    def summary(self) -> str:
        """Tokens, time and passes in one line."""
        prompt = sum(len(ids) for ids in self.prompt_ids)
        rows = f" in {len(self.texts)} rows" if len(self.texts) > 1 else ""
        if not self.new_tokens:
            return f"{prompt:,} tokens{rows} forward in {self.seconds:.2f} s{self._recorded}"
        rate = f"{self.tokens_per_second:,.1f} new tokens/s, the prompt's pass included"
        return f"{prompt:,} + {self.new_tokens:,} tokens{rows} in {self.seconds:.2f} s ({rate}){self._recorded}"

    @property
    def _recorded(self) -> str:
        return f" · {self.passes:,} passes recorded" if self.passes else " · not recorded"

    def __repr__(self) -> str:
        pairs = [f"{_clip(prompt)}{'▸' if self.new_tokens else ''}{_clip(text)}" for prompt, text in self._shown]
        if len(self.texts) > SHOWN:
            pairs.append(f"… and {len(self.texts) - SHOWN} more")
        bars = [self.picture.text] if self.picture else []
        return "\n".join([*pairs, f"— {self.summary}", *bars])

    def _repr_html_(self) -> str:
        rows = [
            f'<div style="white-space: pre-wrap"><span style="opacity: 0.65">{escape(_clip(prompt))}</span>'
            f"<b>{escape(_clip(text))}</b></div>"
            for prompt, text in self._shown
        ]
        if len(self.texts) > SHOWN:
            rows.append(f"<div>… and {len(self.texts) - SHOWN} more</div>")
        rows.append(f"<div><small>{escape(self.summary)}</small></div>")
        if self.picture:
            rows.append(f"{self.picture.html}")
        return "".join(rows)

    @property
    def _shown(self) -> list[tuple[str, str]]:
        return list(zip(self.prompts, self.texts, strict=True))[:SHOWN]


def _clip(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def run(
    model: Any,
    tokenizer: Any,
    texts: Iterable[str],
    max_new_tokens: int = 64,
    *,
    chat: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Run:
    """Generate after each text, or run one forward where the model can't generate, without gradients.

    Parameters
    ----------
    texts : iterable of str
    max_new_tokens : int
    chat : bool
        Put each text into the tokenizer's chat template as what the user says.
    options : mapping
        More arguments of ``generate`` or ``forward``.

    Raises
    ------
    MoedeskError
        Without texts, or if a text can't be tokenized.
    """
    import torch

    texts = list(texts) if isinstance(texts, Iterable) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise MoedeskError('moe.run takes a text, or a list of texts: moe.run("def add(a, b):")')
    prompts = [encode(tokenizer, text, chat) for text in texts]
    two_stacks = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
    pad = pad_id(model, tokenizer)
    ids, mask = padded(prompts, pad, left=not two_stacks)
    device = input_device(model)
    inputs = {"input_ids": torch.from_numpy(ids).to(device), "attention_mask": torch.from_numpy(mask).to(device)}
    options = dict(options or {})
    started = time.perf_counter()
    if not getattr(model, "can_generate", lambda: False)():
        with torch.no_grad():  # tensors of inference mode would have to be copied in the hooks
            model(**inputs, **options)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - started
        nothing = np.zeros(0, np.int64)
        return Run(tuple(texts), ("",) * len(texts), tuple(prompts), (nothing,) * len(texts), seconds)
    with torch.no_grad():
        output = model.generate(**inputs, **{"max_new_tokens": max_new_tokens, "pad_token_id": pad, **options})
        rows = (output if isinstance(output, torch.Tensor) else output.sequences).cpu().numpy()
    seconds = time.perf_counter() - started
    ends = _end_ids(options.get("eos_token_id", getattr(model.generation_config, "eos_token_id", None)))
    new = tuple(_until_end(row[1 if two_stacks else ids.shape[1] :], ends) for row in rows)
    of = [n * len(prompts) // len(rows) for n in range(len(rows))]  # num_return_sequences: several rows a prompt
    return Run(
        tuple(texts[n] for n in of),
        tuple(tokenizer.decode(row, skip_special_tokens=True) for row in new),
        tuple(prompts[n] for n in of),
        new,
        seconds,
    )


def _end_ids(given: Any) -> list[int]:
    return [] if given is None else [int(given)] if isinstance(given, int) else [int(end) for end in given]


def _until_end(ids: npt.NDArray[np.int64], ends: Sequence[int]) -> npt.NDArray[np.int64]:
    """A row up to its first end-of-sequence token; what follows is padding."""
    found = np.flatnonzero(np.isin(ids, ends))
    return ids[: found[0] + 1] if len(found) else ids
