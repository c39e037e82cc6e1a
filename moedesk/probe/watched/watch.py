"""One call of a block whose routing passes through no module: which expert ran on which rows, and what the block calculated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from moedesk.core.errors import MoedeskError
from moedesk.probe.finding.parts import first_tensor
from moedesk.probe.finding.router_output import OutputForm, find_form
from moedesk.probe.watched.operations import OperationObserver
from moedesk.probe.watched.row_marks import row_marks

SAMPLES = 64
"""Token rows of which the experts' outputs are kept, to work the block's output out from them."""

unseen = torch._C.DisableTorchFunction
"""What is done inside is no operation of the block's."""


@dataclass
class Ran:
    """What one expert ran on.

    Attributes
    ----------
    marks : list of (n,) tensors
        ``row_marks`` of its input rows, a tensor a call; rows of zeros left out (slots of a capacity that nobody took).
    samples : list of ((m,), (m, H)) tensors
        Marks of those rows that are sampled, and its output for them, float32.
    outputs : list of (n, H) tensors
        All it returned, zero rows included.
    """

    marks: list[Tensor] = field(default_factory=list)
    samples: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)


class Watch:
    """Watches one call of a block: begun before it, ended after it.

    Parameters
    ----------
    block : Module
    experts : sequence of Module
        Each expert, by its number.
    others : mapping
        The block's other modules, by path below it.
    hidden : (N, H) tensor
        Token rows that the block was called with.

    Attributes
    ----------
    observer : OperationObserver
    ran : list of Ran
        For each expert.
    sources : list of (N,) tensors
        Marks of the rows that experts may have got: the latest values before the first expert ran, the block's input.
    forms : dict
        Where routing is in the outputs of other modules, by path.
    before_experts : int
        Operations before the first expert ran.
    beside : list of (S, H) tensors
        Sampled outputs of modules that may be added to the experts', such as shared experts.
    """

    def __init__(
        self, block: nn.Module, experts: Sequence[nn.Module], others: Mapping[str, nn.Module], hidden: Tensor
    ) -> None:
        self.hidden = hidden.detach().reshape(-1, hidden.shape[-1])
        self.rows = int(self.hidden.shape[0])
        self.observer = OperationObserver(self.rows, len(experts), int(hidden.shape[-1]))
        self.ran = [Ran() for _ in experts]
        self.sources: list[Tensor] = []
        self.forms: dict[str, tuple[OutputForm, list[Tensor]]] = {}
        self.beside: list[Tensor] = []
        self.before_experts = 0
        self._failure = ""
        self._input = row_marks(self.hidden)
        self._first = self.hidden[:SAMPLES].float().clone()
        self._handles: list[RemovableHandle] = []
        for number, expert in enumerate(experts):
            self._handles.append(expert.register_forward_pre_hook(self._guarded(self._before_expert), with_kwargs=True))
            after = self._guarded(self._after_expert(number))
            self._handles.append(expert.register_forward_hook(after, with_kwargs=True))
        for path, module in others.items():
            self._handles.append(module.register_forward_hook(self._guarded(self._after_other(path))))
        self.observer.when_anew = self._forget
        self.observer.start()

    def end(self) -> bool:
        """Take the hooks off; return whether the observer could be left as well."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        return self.observer.stop()

    def _forget(self) -> None:
        """Forget what ran: the call begins anew."""
        for ran in self.ran:
            for seen in (ran.marks, ran.samples, ran.outputs):
                seen.clear()
        self.sources, self.before_experts = [], 0
        self.forms.clear()
        self.beside.clear()

    @property
    def failure(self) -> str:
        """Why the call could not be watched to its end; empty if it could."""
        return self._failure or self.observer.failure

    def sampled(self, output: Tensor) -> Tensor:
        """Return float32 values of the sampled token rows in an output of the block's shape."""
        return output.detach().reshape(self.rows, -1)[:SAMPLES].float()

    @property
    def input_samples(self) -> Tensor:
        """The sampled rows of the block's input."""
        return self._first

    def _guarded(self, hook: Callable[..., None]) -> Callable[..., None]:
        """The hook, done besides the block's own operations; the block goes on whatever happens in it."""

        def guarded(*call: Any) -> None:
            try:
                with unseen():
                    hook(*call)
            except Exception as error:
                self._failure = f"{type(error).__name__}: {error}"

        return guarded

    def _before_expert(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        if self.sources:
            return
        self.before_experts = len(self.observer.names)
        seen = [row_marks(value.reshape(self.rows, -1)) for value in reversed(self.observer.hidden)]
        self.sources = [*seen, self._input]
        self._wanted = torch.cat([marks[:SAMPLES] for marks in self.sources]).unique()

    def _after_expert(self, number: int) -> Callable[..., None]:
        ran = self.ran[number]

        def after(module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
            given, made = first_tensor((*args, *kwargs.values())), first_tensor(output)
            if given is None or made is None or not given.numel() or not self.sources:
                return
            marks = row_marks(given.reshape(-1, given.shape[-1]))
            made = made.detach().reshape(-1, made.shape[-1])
            if made.shape[0] != marks.shape[0]:
                return
            chosen = torch.isin(marks, self._wanted) & (marks != 0)
            ran.samples.append((marks[chosen], made[chosen].float()))
            ran.marks.append(marks[marks != 0])
            ran.outputs.append(made)

        return after

    def _after_other(self, path: str) -> Callable[..., None]:
        def after(module: nn.Module, args: Any, output: Any) -> None:
            form = find_form(output, len(self.ran))
            if form is not None:
                routing = form.read(module, args, {}, output)
                self.forms[path] = form, [routing.ids.detach().clone(), routing.weights.detach().clone()]
            value = first_tensor(output)
            if "." not in path and value is not None and value.numel() == self.hidden.numel():
                self.beside.append(self.sampled(value))

        return after


def experts_of(module: nn.Module) -> list[nn.Module]:
    """Return the experts in a ModuleList, a ModuleDict or a module with numbered children, by their numbers.

    Raises
    ------
    MoedeskError
        If it has fewer than two.
    """
    experts = list(module.children())
    if len(experts) == 1 and isinstance(experts[0], nn.ModuleList | nn.ModuleDict):
        experts = list(experts[0].children())
    if len(experts) < 2:
        raise MoedeskError(f"{type(module).__name__} holds {len(experts)} modules; experts are several")
    return experts
