"""``moedesk.attach``: what a model routes goes to the app, live, until it is detached."""

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn

from moedesk.core.errors import MoedeskError
from moedesk.core.live import Counters
from moedesk.core.model import ModelInfo
from moedesk.core.verification import Verification
from moedesk.probe.exactness.untouched import under_test
from moedesk.probe.exactness.verify import tested
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.discovery import LayerChoice, choose, find_candidates
from moedesk.probe.hooks import Hooks
from moedesk.probe.labelling import Labelling
from moedesk.probe.notice import notice
from moedesk.probe.taking.courier import Sink
from moedesk.probe.taking.sampling import Sampling
from moedesk.probe.taking.vocabulary import Vocabulary
from moedesk.probe.tracer import Tracer
from moedesk.probe.wanted import Wanted

if TYPE_CHECKING:
    from moedesk.probe.breaking.breakpoints import Breakpoints

_running: "weakref.WeakSet[Attachment]" = weakref.WeakSet()
"""A model's hooks keep its attachment alive, and nothing else does: a model that is dropped is freed."""
_lock = threading.RLock()
heard: list[Callable[["Attachment"], None]] = []
"""Each is told of a model that is attached now."""


def attach(
    model: nn.Module,
    tokenizer: Any = None,
    *,
    sink: Sink | None = None,
    layers: LayerChoice = None,
    every: int = 1,
    counts_only: bool = False,
    logits: bool = False,
    backward: bool = False,
    tokens: float = 1.0,
    reservoir: int = 0,
    byte_rate: int = 0,
    verify: bool = False,
) -> "Attachment":
    """Hook a model: from now on the app shows what it routes. Outputs stay bit-identical, and the model never waits.

    If the app can't follow, a pass is *shed* to its exact counts, or dropped; ``Attachment.counters`` and the app say so.
    Attaching a model that is attached gives the same handle.

    Parameters
    ----------
    model : torch.nn.Module
        Any transformers model with Mixture-of-Experts layers; used in any way: forwards, ``generate``, training.
    tokenizer : transformers tokenizer, optional
        For the text of the tokens.
    sink : Sink, optional
        What takes the routing; the link to the app if left out.
    layers : sequence of int or str, or function, optional
        MoE layers to hook: places, module paths, or a function that takes a path; all if left out.
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
    verify : bool
        Run the exactness self-test first; see ``moe.verify``. A failure is said, and kept with what is recorded.

    Returns
    -------
    Attachment

    Raises
    ------
    NoMoELayersError
        If the model has no MoE layer.
    MoedeskError
        If ``layers`` names one that isn't there, or an option makes no sense.
    """
    wanted = Wanted(every, counts_only, logits, backward, Sampling(tokens, reservoir, byte_rate))
    verification = tested(model, tokenizer, layers) if verify else None  # unlocked: it takes seconds
    if under_test(model):
        raise MoedeskError(f"{type(model).__name__} is being tested; attach it when that is over")
    with _lock:
        running = attachment_of(model)
        if running is not None:
            notice(f"{running.name} is attached already, and stays as it is; detach() it first to change how")
            return running
        candidates = find_candidates(model)
        chosen = choose(candidates, layers)
        if sink is None:
            sink = _link(model, tokenizer)
        tracer = Tracer(model, candidates, chosen, tokenizer, wanted, sink, waits=False)
        tracer.verification = verification
        try:
            attachment = Attachment(model, tracer)
        except BaseException:  # a model that can't be described is left as it was
            tracer.hooks.detach()
            tracer.courier.end()
            raise
        attachment.stream = getattr(sink, "number", None)
        _running.add(attachment)
    for tell in tuple(heard):
        tell(attachment)
    return attachment


def attached() -> list["Attachment"]:
    """Return the attachments that run, the oldest first."""
    with _lock:
        return sorted(_running, key=lambda attachment: attachment.number)


def attachment_of(model: nn.Module) -> "Attachment | None":
    """Return the attachment of a model, if it has one."""
    return next((attachment for attachment in attached() if attachment.module is model), None)


def known_bindings(model: nn.Module | None) -> tuple[Binding, ...]:
    """Return the layers that an attachment of a model found, by place; empty without."""
    found = (attachment.bindings for attachment in attached() if attachment.module is model)
    return next((bindings for bindings in found if bindings), ())


def attachment_at(stream: object) -> "Attachment | None":
    """Return the attachment whose routing goes to a stream of the link, if one does."""
    return next((each for each in attached() if each.stream is not None and each.stream == stream), None)


class Attachment:
    """A model that is attached.

    Attributes
    ----------
    module : torch.nn.Module
        The model itself.
    name : str
        Name or path it was loaded from, else its class name.
    number : int
        Grows from one attachment to the next.
    tokenizer : transformers tokenizer or None
        The one it was attached with.
    stream : int or None
        Number of its stream in the link; None if its sink is none of the link's.
    """

    stream: int | None = None
    breakpoints: "Breakpoints | None" = None
    """Those that stop the model; they let go of it before it is left as it was."""

    _numbers = 0

    def __init__(self, model: nn.Module, tracer: Tracer) -> None:
        Attachment._numbers += 1
        self.number = Attachment._numbers
        self.module = model
        self._tracer = tracer
        self.tokenizer = tracer.tokenizer
        self._attached = True
        tracer.owner = self  # the model's hooks hold the tracer
        tracer.describe()
        assert tracer.model is not None
        self.name = tracer.model.name
        self._end = weakref.finalize(model, tracer.courier.end)
        self._end.atexit = False

    def __repr__(self) -> str:
        layers = self.model.layers
        experts = sorted({layer.experts for layer in layers})
        known = (
            f"{len(layers)} MoE layers × {'/'.join(map(str, experts))} experts" if layers else "MoE layers not run yet"
        )
        counters = self.counters
        lost = f", {counters.shed:,} shed, {counters.dropped:,} dropped" if counters.shed or counters.dropped else ""
        passes = f"{counters.passes:,} pass{'es' * (counters.passes != 1)}"
        return f"<Attachment {self.name!r}: {known}, {passes}{lost}, {self.state}>"

    @property
    def attached(self) -> bool:
        """Whether the model is still hooked."""
        return self._attached

    @property
    def hooks(self) -> Hooks:
        """The hooks on the model."""
        return self._tracer.hooks

    @property
    def tracer(self) -> Tracer:
        """What hooks the model, and takes its passes to the sink."""
        return self._tracer

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """The MoE layers that ran, in the order of their places."""
        return self._tracer.bindings

    @property
    def state(self) -> str:
        """``recording``, ``paused`` or ``detached``; or why nothing more is taken."""
        if not self._attached:
            return "detached"
        return self._tracer.courier.failure or ("recording" if self.recording else "paused")

    @property
    def model(self) -> ModelInfo:
        """What is known of the model; its MoE layers are known once they ran."""
        assert self._tracer.model is not None
        return self._tracer.model

    def set_verification(self, found: Verification) -> None:
        """Tell what takes the routing what the self-test of this model found."""
        self._tracer.verification = found
        self._tracer.describe()

    @property
    def passes(self) -> int:
        """Passes that ran while recording was on."""
        return self._tracer.cost.passes

    @property
    def handed_over(self) -> int:
        """Passes that the sink got or will get: all but those dropped on the way to it."""
        return self._tracer.cost.passes - self._tracer.cost.dropped

    @property
    def counters(self) -> Counters:
        """What ran, what was left out, what it cost."""
        return self._tracer.counters

    @property
    def recording(self) -> bool:
        """Whether passes are recorded."""
        return self._attached and self._tracer.hooks.recording

    def set_recording(self, on: bool) -> None:
        """Record passes from the next one on, or none: the hooks come off the model."""
        self._tracer.hooks.recording = on

    def label(self, name: str | None) -> Labelling:
        """Label the passes from now on, or those in a ``with`` block: the domain of a text, the part of an experiment.

        Every metric is then available by label. None ends it.

        Examples
        --------
        >>> with handle.label("python"):
        ...     model(**inputs)
        """
        return Labelling(self._tracer.hooks, name)

    def detach(self) -> None:
        """Leave the model as it was. What is on its way is delivered; a second time does nothing.

        May be called from any thread, and while a pass runs, which then ends as failed.
        """
        with _lock:
            if not self._attached:
                return
            self._attached = False
            _running.discard(self)
        if self.breakpoints is not None:
            self.breakpoints.let_go()
        self._end.detach()
        if not self._tracer.stop(self._tracer.left_out()):
            notice(f"{self.name}: detached, but what takes its routing hangs; the last passes were dropped")


def _link(model: nn.Module, tokenizer: Any) -> Sink:
    """A stream of this process's link."""
    from moedesk.link.own_server import own_server

    name = str(getattr(model, "name_or_path", "") or type(model).__name__)
    return own_server().open_stream(name, vocabulary=Vocabulary.of(tokenizer, model))
