"""Runs a text without the overrides and with them: what the model writes, how likely the tokens are, where they go."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moedesk.core.before_after import WITH, WITHOUT, BeforeAfter
from moedesk.core.errors import MoedeskError
from moedesk.core.override import OverrideKind
from moedesk.probe.attach import attached
from moedesk.probe.exactness.kept import Kept
from moedesk.probe.exactness.sample_input import token_argument
from moedesk.probe.exactness.text_batch import encode, input_device
from moedesk.probe.explaining.rerun import logits_of
from moedesk.probe.finding.arguments import argument_names
from moedesk.probe.hooks import hooks_on
from moedesk.probe.overriding.overrides import Overrides
from moedesk.probe.record import Recording
from moedesk.probe.taking.compiled import as_written
from moedesk.probe.wanted import Wanted

Progress = Callable[[float, str], None]
SEED = 0


@as_written()  # both, or what is compiled would differ in its last bits
def before_after(
    overrides: Overrides,
    tokenizer: Any,
    text: str,
    max_new_tokens: int = 32,
    *,
    seed: int = SEED,
    record: bool = False,
    progress: Progress = lambda share, text: None,
    **options: Any,
) -> BeforeAfter:
    """Run a text without the overrides that are on, and with them; the list stays as it is, and no breakpoint acts meanwhile.

    Parameters
    ----------
    max_new_tokens : int
        Tokens to be written at most; 0 for none.
    seed : int
        Of both runs.
    record : bool
        Whether what records the model, or is attached to it, takes the passes of both runs: labelled ``WITHOUT`` and ``WITH``.
        If not, they are in no total but that of the result.
    **options
        More arguments of ``generate``; the best token is taken each time without.

    Raises
    ------
    MoedeskError
        If the text can't be run.
    """
    model: Any = overrides.module
    prompt = torch.from_numpy(encode(tokenizer, text, False)[None]).to(input_device(model))
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise MoedeskError("before and after need a model that goes on with its text, not one that translates it")
    writes = max_new_tokens > 0 and getattr(model, "can_generate", lambda: False)()
    notes = [] if writes or not max_new_tokens else [f"{type(model).__name__} can't generate, so nothing is written"]
    count = prompt.shape[1]

    def write() -> Tensor:
        if not writes:
            return prompt
        torch.manual_seed(seed)
        with torch.no_grad():
            output = model.generate(
                input_ids=prompt, **{"do_sample": False, "max_new_tokens": max_new_tokens, **options}
            )
        return (output if isinstance(output, Tensor) else output.sequences)[:1]

    with _no_stops(model) as passed_over:
        with _taken(overrides, record) as call, overrides.suspended():
            call(WITHOUT)
            progress(0.0, "writing without overrides")
            ids = write()
            progress(0.4, "scoring without overrides")
            before, counts_before = _score(model, ids, len(overrides.info.layers))
        with _taken(overrides, record) as call:
            call(WITH)
            progress(0.5, "writing with overrides")
            written = write()[0, count:]
            progress(0.9, "scoring with overrides")
            after, counts_after = _score(model, ids, len(overrides.info.layers))
    progress(1.0, "done")
    if passed_over:
        which = "1 breakpoint is" if passed_over == 1 else f"{passed_over:,} breakpoints are"
        notes.append(f"{which} passed over: none stops, prints or counts a hit in a comparison")
    if record and any(entry.override.kind is OverrideKind.TOP_K for entry in overrides.acting):
        notes.append("the passes without overrides are not recorded: their rows have other slots")
    if options.get("do_sample"):
        notes.append(f"tokens were drawn, with seed {seed} both times")
    return BeforeAfter(
        ids[0].cpu().numpy(),
        _texts(tokenizer, ids[0]),
        count,
        before,
        after,
        written.cpu().numpy(),
        _texts(tokenizer, written),
        counts_before,
        counts_after,
        tuple(entry.override.title for entry in overrides.entries if entry.on),
        tuple(notes),
    )


@contextmanager
def _no_stops(model: Any) -> Iterator[int]:
    """Have no breakpoint act in the block; yields how many are on."""
    with ExitStack() as stack:
        lists = [one.breakpoints for one in attached() if one.module is model and one.breakpoints is not None]
        yield sum(stack.enter_context(breakpoints.passed_over()) for breakpoints in lists)


@contextmanager
def _taken(overrides: Overrides, record: bool) -> Iterator[Callable[[str], None]]:
    """Have the passes in the block taken by what records the model now, under the label that is given, or by nothing."""
    taking = [(hooks, hooks.label) for hooks in hooks_on(overrides.module) if hooks.recording]

    def call(label: str) -> None:
        for hooks, _ in taking if record else ():
            hooks.label = label

    tallies = () if record else overrides.tallies
    try:
        for hooks, _ in () if record else taking:
            hooks.recording = False
        for tally in tallies:
            tally.counts = False
        yield call
    finally:
        for tally in tallies:
            tally.counts = True
        for hooks, label in taking:
            hooks.recording, hooks.label = True, label


def _score(model: Any, ids: Tensor, layers: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """(T,) log-probability of each token given those before it, and each layer's counts, in one pass."""
    argument = token_argument(argument_names(model)) or "input_ids"
    kept = Kept()
    recording = Recording(model, "unused.h5", None, None, Wanted(counts_only=True), sink=kept)
    with torch.no_grad(), recording:
        logits = logits_of(model(**{argument: ids}), model)[0, :-1].float()
    scored = logits.log_softmax(-1).gather(-1, ids[0, 1:, None].to(logits.device))[:, 0]
    values = np.concatenate([[np.nan], scored.cpu().numpy()]).astype(np.float32)
    found = {layer.layer: layer.counts for batch in kept.batches for layer in batch.layers}
    nothing = np.zeros(0, np.int64)
    return values, tuple(np.asarray(found.get(place, nothing), np.int64) for place in range(layers))


def _texts(tokenizer: Any, ids: Tensor) -> tuple[str, ...]:
    return tuple(_text(tokenizer, ids[: n + 1].tolist()) for n in range(len(ids)))


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    """What the last token adds to the text, so that a letter of several tokens is shown where it ends."""
    text, before = tokenizer.decode(ids[-8:]), tokenizer.decode(ids[-8:-1])
    return text.removeprefix(before) if text.startswith(before) else tokenizer.decode(ids[-1:])
