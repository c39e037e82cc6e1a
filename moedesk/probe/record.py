"""``moedesk.record``: everything that a model routes inside a ``with`` block goes into a capture."""

from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from torch import nn

from moedesk.capture.writer import CaptureWriter
from moedesk.core.model import ModelInfo
from moedesk.probe.exactness.verify import tested
from moedesk.probe.finding.discovery import LayerChoice, choose, find_candidates
from moedesk.probe.hooks import Hooks
from moedesk.probe.labelling import Labelling
from moedesk.probe.notice import notice
from moedesk.probe.taking.courier import Sink
from moedesk.probe.taking.nothing import Nothing
from moedesk.probe.taking.parallel import own_path, repeats_tokens
from moedesk.probe.taking.sampling import Sampling
from moedesk.probe.taking.vocabulary import Vocabulary
from moedesk.probe.tracer import Tracer
from moedesk.probe.wanted import Wanted


def record(
    model: nn.Module,
    path: str | PathLike[str],
    tokenizer: Any = None,
    *,
    layers: LayerChoice = None,
    every: int = 1,
    counts_only: bool = False,
    logits: bool = False,
    backward: bool = False,
    tokens: float = 1.0,
    reservoir: int = 0,
    byte_rate: int = 0,
    weights: Literal["exact", "float16"] = "exact",
    byte_budget: int | None = None,
    verify: bool = False,
) -> "Recording":
    """Record the routing of a model while it is used in a ``with`` block.

    Outputs stay bit-identical, and nothing is left on the model afterwards. If the block raises, the capture is finished and
    the exception goes on. The model waits only if 256 MiB of routing are on their way to a disk that is too slow: a capture
    is complete.

    Parameters
    ----------
    model : torch.nn.Module
        Any transformers model with Mixture-of-Experts layers; used in any way: forwards, ``generate``, training.
    path : path-like
        The capture to write (``.h5``); an existing file is replaced.
    tokenizer : transformers tokenizer, optional
        For the text of the tokens.
    layers : sequence of int or str, or function, optional
        MoE layers to record: places, module paths, or a function that takes a path; all if left out.
    every : int
        Keep ids and weights of every n-th pass only; of the others, exact counts.
    counts_only : bool
        Keep counts per pass, layer and expert only.
    logits : bool
        Keep router logits too (4·E bytes per token and layer).
    backward : bool
        Keep, of every training step, the norm of each expert's and router's gradient and of each expert's output.
    tokens : float
        Share of the tokens whose ids and weights are kept, 0 to 1: those whose hash of sequence and position is below it, so the
        same ones at all layers and in every run. Counts are of all tokens, whatever is sampled.
    reservoir : int
        Keep the rows of an even sample of so many tokens of the whole recording; they are written when it ends. 0 for all.
    byte_rate : int
        Bytes of rows a second, before compression, beyond which passes are only counted. 0 for any.
    weights : {"exact", "float16"}
        How weights, entropy, margin and logits are kept.
    byte_budget : int, optional
        Size in bytes beyond which only counts are kept.
    verify : bool
        Run the exactness self-test on entering, and keep what it found in the capture; see ``moedesk.probe.exactness.verify``.

    Returns
    -------
    Recording
        A context manager; see its attributes.

    Raises
    ------
    NoMoELayersError
        On entering, if the model has no MoE layer.
    CaptureError
        On entering, if the file can't be written.
    MoedeskError
        On entering, if ``layers`` names one that isn't there.
    """
    wanted = Wanted(every, counts_only, logits, backward, Sampling(tokens, reservoir, byte_rate))
    return Recording(model, path, tokenizer, layers, wanted, weights, byte_budget, verify=verify)


class Recording:
    """A recording under way; enter it to start, leave it to finish.

    Attributes
    ----------
    path : Path
        The capture. Of several processes the second one, which has rank 1, writes ``run.rank1.h5`` for ``run.h5``, and so on.
    repeats : bool
        Whether a process before this one runs the same tokens (tensor parallelism): then that one alone records, and here
        nothing is, nor a file written. Known once entered.
    module : torch.nn.Module
        The model itself.
    """

    def __init__(
        self,
        model: nn.Module,
        path: str | PathLike[str],
        tokenizer: Any,
        layers: LayerChoice,
        wanted: Wanted,
        weights: Literal["exact", "float16"] = "exact",
        byte_budget: int | None = None,
        sink: Sink | None = None,
        verify: bool = False,
    ) -> None:
        self.path = own_path(Path(path))
        self.repeats = False
        self.module = model
        self._tokenizer = tokenizer
        self._choice = layers
        self._wanted = wanted
        self._storage: tuple[Literal["exact", "float16"], int | None] = weights, byte_budget
        self._sink = sink
        self._verify = verify
        self._tracer: Tracer | None = None
        self._warned = False

    @property
    def model(self) -> ModelInfo | None:
        """What is recorded; its MoE layers are known once they ran."""
        return self._tracer.model if self._tracer else None

    @property
    def passes(self) -> int:
        """Passes recorded so far."""
        return self._tracer.passes if self._tracer else 0

    @property
    def hooks(self) -> Hooks:
        """The hooks on the model, once entered."""
        assert self._tracer is not None
        return self._tracer.hooks

    def label(self, name: str | None) -> Labelling:
        """Label the passes from now on, or those in a ``with`` block: the domain of a text, the part of an experiment.

        Every metric is then available by label. None ends it.

        Examples
        --------
        >>> with rec.label("python"):
        ...     model(**inputs)
        """
        return Labelling(self.hooks, name)

    def __enter__(self) -> Self:
        candidates = find_candidates(self.module)
        chosen = choose(candidates, self._choice)
        verification = tested(self.module, self._tokenizer, self._choice) if self._verify else None
        self.repeats = self._sink is None and repeats_tokens(self.module)
        sink = self._sink or (Nothing() if self.repeats else self._writer())
        self._tracer = Tracer(self.module, candidates, chosen, self._tokenizer, self._wanted, sink)
        self._tracer.hooks.recording = not self.repeats
        self._tracer.verification = verification
        self._tracer.failed = self._say_failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tracer is not None
        left_out = [*self._left_out(), *self._tracer.left_out()]
        self._tracer.stop(left_out)
        for line in left_out:
            notice(line)
        if self._tracer.courier.failure is not None:
            self._say_failure(self._tracer.courier.failure)

    def _writer(self) -> CaptureWriter:
        vocabulary = Vocabulary.of(self._tokenizer, self.module)
        weights, byte_budget = self._storage
        return CaptureWriter(self.path, vocabulary, self._wanted.logits, weights, byte_budget)

    def _left_out(self) -> list[str]:
        """Why the capture is empty, if it is."""
        if self.repeats:
            return []
        lines = []
        waiting = [candidate.block_path for candidate in self.hooks.waiting]
        name = type(self.module).__name__
        if not self.passes and self.hooks.left_out.paths:
            lines.append(f"nothing was recorded: no MoE layer of {name} could be read")
        elif not self.passes and not waiting:
            lines.append(f"nothing was recorded: no MoE layer of {name} ran inside the with block")
        elif not self.passes:
            lines.append(
                f"nothing was recorded: {name} ran no MoE layer that moedesk could read inside the with block "
                f"(looked at {len(waiting)}: {waiting[0]} …)"
            )
        return lines

    def _say_failure(self, failure: str) -> None:
        if not self._warned:
            self._warned = True
            notice(f"{self.path}: {failure}; the model goes on")
