"""What ``record`` and ``attach`` share: a model's hooks, the courier to a sink, and what is known of the model."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from moedesk.core.live import Counters
from moedesk.core.model import LayerInfo, ModelInfo
from moedesk.core.verification import Verification
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.describe import describe_model
from moedesk.probe.finding.discovery import Candidate
from moedesk.probe.hooks import Hooks
from moedesk.probe.taking.batch import BatchMaker, RecordedPass
from moedesk.probe.taking.cost import Cost
from moedesk.probe.taking.courier import Courier, Sink
from moedesk.probe.taking.sampling import SampledSink
from moedesk.probe.taking.tokens import token_kinds
from moedesk.probe.wanted import Wanted


class Tracer:
    """Hooks a model from the start; ``stop`` takes the hooks off and finishes the sink.

    Parameters
    ----------
    model : Module
    candidates : sequence of Candidate
        All of the model's.
    chosen : sequence of Candidate
        Those to hook.
    tokenizer : transformers tokenizer or None
        Only its name is used.
    wanted : Wanted
    sink : Sink
    waits : bool
        Whether the model waits for a slow sink; if not, passes are shed and dropped, and counted.

    Attributes
    ----------
    model : ModelInfo or None
        None until ``describe``.
    passes : int
        Passes handed on, those shed included.
    cost : Cost
    """

    def __init__(
        self,
        model: nn.Module,
        candidates: Sequence[Candidate],
        chosen: Sequence[Candidate],
        tokenizer: Any,
        wanted: Wanted,
        sink: Sink,
        waits: bool = True,
    ) -> None:
        self.model: ModelInfo | None = None
        self.passes = 0
        self.owner: object = None
        """Kept alive as long as the hooks are on the model."""
        self.failed: Callable[[str], None] | None = None
        """Told, at the end of a pass, that the sink takes no more; may be told again."""
        self.cost = Cost()
        self.verification: Verification | None = None
        """What the self-test found, told with the next ``describe``."""
        self._module = model
        self.tokenizer = tokenizer
        self._order = {candidate.path: place for place, candidate in enumerate(candidates)}
        self._bindings: list[Binding] = []
        if not wanted.sampling.all:
            sink = SampledSink(sink, wanted.sampling)
        self.courier = Courier(sink, BatchMaker(token_kinds(getattr(model, "config", None))), self.cost, waits)
        if len(chosen) < len(candidates):
            self.courier.note(f"{len(chosen)} of the model's {len(candidates)} MoE layers were recorded (layers=)")
        self.hooks = Hooks(model, chosen, wanted, self._finished, self.cost, self.courier, midway=not waits)

    @property
    def counters(self) -> Counters:
        """What ran, what was left out, what it cost."""
        return self.courier.counters

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """The layers found so far, in the order of their places."""
        return tuple(self._bindings)

    def place_of(self, binding: Binding) -> int | None:
        """Return the place that a layer will have that is found now; None as long as others may come before it."""
        before = [path for path, place in self._order.items() if place < self._order[binding.candidate.path]]
        return len(before) if set(before) <= set(self.hooks.bound) else None

    def describe(self) -> None:
        """Tell the sink what is known of the model now."""
        self._describe([binding.layer for binding in self._bindings])

    def left_out(self) -> list[str]:
        """Return what the sink lacks so far, a line each."""
        outside = self.hooks.outside
        lines = [f"{outside} calls of MoE layers outside a forward of the model were not recorded"] if outside else []
        return [*lines, *self.hooks.steps.notes, *self.hooks.outputs.notes]

    def stop(self, last: Sequence[str] = ()) -> bool:
        """Take the hooks off and finish the sink, ``last`` being its last notes; return whether it took everything."""
        self.hooks.detach()
        if self.model is None:
            self.describe()
        return self.courier.close(last)

    def _finished(self, recorded: RecordedPass, found: Sequence[Binding]) -> None:
        if found:
            ordered = sorted(found, key=lambda binding: self._order[binding.candidate.path])
            self._bindings += [binding.placed(len(self._bindings) + i) for i, binding in enumerate(ordered)]
            self._describe([binding.layer for binding in self._bindings])
            for line in dict.fromkeys(binding.adapter.note for binding in found if binding.adapter is not None):
                if line:
                    self.courier.note(line)
        if recorded.dropped:
            return
        self.courier.deliver(recorded)
        self.passes += 1
        if self.failed is not None and self.courier.failure is not None:
            self.failed(self.courier.failure)

    def _describe(self, layers: Sequence[LayerInfo]) -> None:
        described = describe_model(self._module, layers, self.tokenizer)
        self.model = replace(described, verification=self.verification)
        self.courier.describe(self.model)
