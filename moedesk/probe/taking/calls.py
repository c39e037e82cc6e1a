"""How a forward was called: token ids, positions, padding, cache. Read on the model's thread without waiting for a device."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moedesk.probe.finding.arguments import argument_names
from moedesk.probe.finding.pools import ARGUMENTS

_STARTS = ("cu_seq_lens_q", "cu_seqlens_q", "cu_seq_lens", "cu_seqlens")

Copier = Callable[[Tensor], Tensor]
"""Takes a tensor that the caller may change later; returns one that will hold its values on the host."""


class Identities:
    """Numbers objects without keeping them alive, so that a cache or an encoder's output is known again."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._next = 0

    def find(self, thing: Any) -> int:
        """Return the number of an object seen before, or -1."""
        entry = self._known.get(id(thing))
        return entry[1] if entry is not None and entry[0]() is thing else -1

    def number(self, thing: Any) -> int:
        """Return the number of an object, a new one if it was not seen before; -1 for one that can't be remembered."""
        found = self.find(thing)
        if found >= 0 or thing is None:
            return found
        key = id(thing)
        try:
            reference = weakref.ref(thing, lambda _: self._known.pop(key, None))
        except TypeError:
            return -1
        self._next += 1
        self._known[key] = (reference, self._next)
        return self._next


@dataclass
class Call:
    """One call of a module that takes tokens.

    Attributes
    ----------
    path : str
        Of the module; empty for the model.
    batch, length : int
        Shape of the token rows; row ``b * length + s`` is token s of sequence b.
    past : int or (…) int tensor
        Tokens in the KV cache before the call.
    ids, positions : tensor or None
        (batch, length) and (batch or 1, length); on their way to the host.
    padding : (batch, length) bool tensor or None
        True at padding; None if there is no mask.
    starts : int tensor or None
        Places in the only row where packed sequences begin, and the end of the last, as variable-length attention takes them.
    axes : int
        Axes that a position has; more than one for images and video.
    cache, source, output : int
        ``Identities`` of the KV cache, of the encoder output that it reads, and of the output that it wrote; -1 for none.
    caching : bool or None
        Whether a KV cache was asked for or given; None if the call doesn't say.
    labelled : bool
        Whether labels were given.
    marks : (batch, length) int tensor or None
        What tells the rows of ``pools`` apart.
    paged : bool
        Whether the cache is that of continuous batching, whose one row holds parts of many requests.
    """

    path: str
    batch: int
    length: int
    past: int | Tensor = 0
    ids: Tensor | None = None
    positions: Tensor | None = None
    padding: Tensor | None = None
    starts: Tensor | None = None
    axes: int = 1
    cache: int = -1
    source: int = -1
    output: int = -1
    caching: bool | None = None
    labelled: bool = False
    marks: Tensor | None = None
    paged: bool = False


class CallReader:
    """Reads the arguments of the modules of one model that take tokens.

    Parameters
    ----------
    identities : Identities, optional
        Those of another reader of the same model, to give its numbers.
    """

    def __init__(self, identities: Identities | None = None) -> None:
        self.identities = identities or Identities()
        self._names: dict[nn.Module, tuple[str, ...]] = {}

    def read(
        self, path: str, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], copy: Copier | None
    ) -> tuple[Call, Tensor | None]:
        """Return the call and the ids it was given, as they are; without ``copy``, only what costs nothing."""
        given = self._bind(module, args, kwargs)
        ids = _integers(given.get("input_ids"))
        if ids is None and given.get("inputs_embeds") is None:
            ids = _integers(given.get("decoder_input_ids"))
        if ids is None and "input_ids" not in self._names[module]:
            ids = next((value for value in given.values() if _integers(value) is not None), None)
        embeds = given.get("inputs_embeds")
        shape = ids.shape if ids is not None else embeds.shape if isinstance(embeds, Tensor) else None
        batch, length = (int(shape[0]), int(shape[1])) if shape is not None and len(shape) >= 2 else (0, 0)
        cache = given.get("past_key_values")
        use = given.get("use_cache")
        call = Call(path, batch, length, labelled=given.get("labels") is not None)
        call.paged = type(given.get("cache")).__name__ == "PagedAttentionCache"
        call.caching = True if cache is not None or call.paged else bool(use) if use is not None else None
        if copy is not None:
            call.past = _past(cache, copy)
            call.cache = self.identities.number(cache)
            call.source = self.identities.find(given.get("encoder_hidden_states"))
            positions = given.get("position_ids")
            call.positions = _positions(positions, call, copy)
            call.axes = int(positions.shape[0]) if isinstance(positions, Tensor) and positions.ndim > 2 else 1
            call.starts = next((copy(given[name]) for name in _STARTS if isinstance(given.get(name), Tensor)), None)
            call.padding = _padding(given.get("attention_mask"), call, copy)
            call.marks = _marks(given, call, copy)
        return call, ids

    def finish(self, call: Call, output: Any, encoder: bool) -> None:
        """Take from a call's output what a later call may refer to: the cache it made, an encoder's states."""
        cache = getattr(output, "past_key_values", None)
        states = getattr(output, "last_hidden_state", None)
        if isinstance(output, tuple) and output:
            states = output[0]
            cache = next((value for value in output if hasattr(value, "get_seq_length")), None)
        if call.cache < 0:
            call.cache = self.identities.number(cache)
        if encoder and isinstance(states, Tensor):
            call.output = self.identities.number(states)

    def _bind(self, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        names = self._names.get(module)
        if names is None:
            names = self._names[module] = argument_names(module)
        return {**dict(zip(names, args, strict=False)), **kwargs}


def _integers(value: Any) -> Tensor | None:
    """The value if it is a (batch, length) tensor of ids."""
    if isinstance(value, Tensor) and value.ndim == 2 and value.dtype in (torch.int64, torch.int32):
        return value
    return None


def _past(cache: Any, copy: Copier) -> int | Tensor:
    """Tokens in a KV cache; a static cache counts on the device, so its number may come later."""
    if isinstance(cache, (tuple, list)):
        first = cache[0] if cache else None
        first = first[0] if isinstance(first, (tuple, list)) and first else first
        return int(first.shape[-2]) if isinstance(first, Tensor) and first.ndim >= 2 else 0
    try:
        length = cache.get_seq_length() if hasattr(cache, "get_seq_length") else 0
    except ValueError:  # a cache without attention layers counts no tokens
        return 0
    return copy(length) if isinstance(length, Tensor) else int(length)


def _positions(value: Any, call: Call, copy: Copier) -> Tensor | None:
    if not isinstance(value, Tensor):
        return None
    while value.ndim > 2:  # several axes (time, height, width): the first is the token's
        value = value[0]
    if value.ndim == 1:
        value = value.unsqueeze(0)
    if value.shape[-1] != call.length or value.shape[0] not in (1, call.batch):
        return None
    return copy(value)


def _padding(mask: Any, call: Call, copy: Copier) -> Tensor | None:
    """Which of the call's tokens are padding, from a 2-D mask over keys or a 4-D mask over queries and keys."""
    if isinstance(mask, Mapping):
        mask = mask.get("full_attention", next(iter(mask.values()), None))
    if not isinstance(mask, Tensor) or call.length == 0 or mask.shape[0] != call.batch:
        return None
    mask = mask.detach()
    if mask.ndim == 4 and mask.shape[-2] == call.length:
        return copy(_masked_diagonal(mask, call))
    if mask.ndim != 2 or mask.shape[1] < call.length:
        return None
    past = call.past if isinstance(call.past, int) else mask.shape[1] - call.length
    first = past if past + call.length <= mask.shape[1] else mask.shape[1] - call.length
    return copy(mask[:, first : first + call.length] == 0)


def _marks(given: Mapping[str, Any], call: Call, copy: Copier) -> Tensor | None:
    for name in ARGUMENTS:
        marks = given.get(name)
        if isinstance(marks, Tensor) and marks.shape == (call.batch, call.length):
            return copy(marks)
    return None


def _masked_diagonal(mask: Tensor, call: Call) -> Tensor:
    """A token that may not even attend to itself is padding, whatever the window or the causality of the mask."""
    columns = torch.arange(call.length, device=mask.device) + (
        call.past if isinstance(call.past, int) else call.past.to(mask.device)
    )
    columns = columns.clamp(max=mask.shape[-1] - 1).expand(call.batch, 1, call.length).unsqueeze(-1)
    own = mask[:, :1].gather(-1, columns)[:, 0, :, 0]
    return ~own if own.dtype == torch.bool else own < 0


def uses_cache(model: nn.Module) -> bool:
    """Whether a model fills a KV cache where a call doesn't say."""
    config: Any = getattr(model, "config", None)
    if hasattr(config, "get_text_config"):
        config = config.get_text_config()
    return bool(getattr(config, "use_cache", False))
