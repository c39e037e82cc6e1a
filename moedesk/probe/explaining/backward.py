"""One forward and backward of the model for one token's target: what reaches it from everything that is added to the stream."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from moedesk.core.errors import MoedeskError
from moedesk.probe.explaining.branches import Branch, DecoderLayer, decoder_layers, find_branches, is_norm
from moedesk.probe.explaining.frozen_norm import frozen
from moedesk.probe.explaining.heard import slots_of
from moedesk.probe.explaining.rerun import Rerun, logits_of
from moedesk.probe.explaining.slots import SlotListener, Slots, replaced
from moedesk.probe.finding.discovery import inside
from moedesk.probe.finding.lookout import NO_NAMES
from moedesk.probe.finding.parts import first_tensor

Target = Callable[[Tensor], Tensor]
"""Takes the (V,) logits of the token; returns the number whose gradient is wanted."""


@dataclass(frozen=True, eq=False)
class Part:
    """A tensor of the forward, its row of the token, and the target's gradient with respect to that row.

    Attributes
    ----------
    value, gradient : (D,) float64 tensors on the host
        The gradient is 0 where nothing of the tensor reaches the target.
    """

    value: Tensor
    gradient: Tensor

    @property
    def product(self) -> float:
        """Gradient × value."""
        return float(self.gradient @ self.value)

    @property
    def size(self) -> float:
        """The largest that the product could be, whatever the signs: what rounding is measured by."""
        return float(self.gradient.abs() @ self.value.abs())


@dataclass(frozen=True, eq=False)
class Backward:
    """What one backward found.

    Attributes
    ----------
    target : float
        Its value.
    branches : tuple of (Branch, Part)
        Of those that ran, in the order of the module tree.
    slots : mapping of int to Slots
        By the layer's place.
    anchors : mapping of int to Part
        The output that a layer's slots add up to.
    shared : mapping of int to tuple of (str, Part)
        A layer's shared experts, by path.
    streams : tuple of ((number of the decoder layer), Tensor)
        Gradient with respect to the stream as each decoder layer receives it, at the token.
    embedding : (T, H) float64 tensor or None
        Gradient with respect to the embeddings of all tokens.
    constant : float
        What biases of norms give; 0 unless norms are frozen.
    problems : mapping of int to str
        Why a layer has no slots.
    notes : tuple of str
    """

    target: float
    branches: tuple[tuple[Branch, Part], ...]
    slots: Mapping[int, Slots]
    anchors: Mapping[int, Part]
    shared: Mapping[int, tuple[tuple[str, Part], ...]]
    streams: tuple[tuple[int, Tensor], ...]
    embedding: Tensor | None
    constant: float
    problems: Mapping[int, str]
    notes: tuple[str, ...] = ()


@dataclass
class _Heard:
    """Tensors of the forward."""

    branches: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    streams: dict[int, Tensor] = field(default_factory=dict)
    biases: list[Tensor] = field(default_factory=list)
    head: tuple[nn.Linear, Tensor] | None = None
    unfrozen: list[str] = field(default_factory=list)


class _Pass:
    """The hooks of one forward with gradients.

    Parameters
    ----------
    rerun : Rerun
    direct : bool
        Whether only what goes straight from the stream to the logits counts: nothing passes through attentions, MLPs and
        MoE blocks, and norms keep their scale.
    """

    def __init__(self, rerun: Rerun, direct: bool) -> None:
        self._rerun, self._direct = rerun, direct
        self._handles: list[RemovableHandle] = []
        self.heard = _Heard()
        self.branches = find_branches(rerun.model, rerun.bindings)
        self.listeners = {b.layer.place: SlotListener(b, self._mark) for b in rerun.bindings}

    @contextmanager
    def hooked(self) -> Iterator[None]:
        try:
            if self._direct:
                self._freeze_norms()
                self._watch_heads()
            for layer in decoder_layers(self._rerun.model, self._rerun.bindings):
                self._on(layer.module.register_forward_pre_hook(self._before_layer(layer), with_kwargs=True))
            for listener in self.listeners.values():
                listener.attach()
            for number, branch in enumerate(self.branches):
                if self._direct and not branch.embeds:
                    self._on(branch.module.register_forward_pre_hook(_cut, with_kwargs=True))
                self._on(branch.module.register_forward_hook(self._after_branch(number, branch)))
            yield
        finally:
            for handle in self._handles:
                handle.remove()
            for listener in self.listeners.values():
                listener.detach()

    def _on(self, handle: RemovableHandle) -> None:
        self._handles.append(handle)

    def _mark(self, tensor: Tensor, whole: bool) -> tuple[Tensor, Tensor]:
        """What stands for a tensor in gradients, and a copy that is used: gradients begin at it if nothing goes through it."""
        begins = not tensor.requires_grad or (self._direct and not whole)
        anchor = tensor.detach().clone().requires_grad_() if begins else tensor
        return anchor, anchor.clone()

    def _before_layer(self, layer: DecoderLayer) -> Callable[..., Any]:
        def before(module: nn.Module, args: Any, kwargs: Mapping[str, Any] = NO_NAMES) -> Any:
            for value in (*args, *kwargs.values()):
                if isinstance(value, Tensor) and value.is_floating_point() and value.requires_grad:
                    self.heard.streams[layer.number] = value
                    return

        return before

    def _after_branch(self, number: int, branch: Branch) -> Callable[..., Any]:
        def after(module: nn.Module, args: Any, output: Any) -> Any:
            tensor = first_tensor(output)
            if tensor is None or not tensor.is_floating_point():
                return None
            value = tensor.detach().clone()
            anchor, used = self._mark(tensor, bool(branch.places))
            self.heard.branches[number] = value, anchor
            return replaced(output, tensor, used)

        return after

    def _freeze_norms(self) -> None:
        tops = [branch.component.path for branch in self.branches]
        for path, module in self._rerun.model.named_modules():
            if is_norm(path, module) and not list(module.children()):
                within = any(inside(path, top) for top in tops)
                self._on(module.register_forward_hook(self._freezer(path, within), with_kwargs=True))

    def _watch_heads(self) -> None:
        """The last linear layer outside of the branches is what makes the logits, or one that makes none, which shows later."""
        tops = [branch.component.path for branch in self.branches]
        for path, module in self._rerun.model.named_modules():
            if isinstance(module, nn.Linear) and not any(inside(path, top) for top in tops):
                self._on(module.register_forward_hook(self._after_head))

    def _after_head(self, module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(module, nn.Linear) and isinstance(output, Tensor):
            self.heard.head = module, output

    def _freezer(self, path: str, within: bool) -> Callable[..., Any]:
        def freeze(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            given = first_tensor((*args, *kwargs.values()))
            if not isinstance(output, Tensor) or given is None or not given.requires_grad:
                return None
            found = frozen(module, given, output)
            if found is None:
                if not within:
                    self.heard.unfrozen.append(path)
                return None
            if found.bias is not None:
                self.heard.biases.append(found.bias)
            return found.output

        return freeze


def run_gradient(rerun: Rerun, target: Target) -> Backward:
    """Run forward and backward once, and return the gradient of a target with respect to each part of the stream.

    Parameters are left alone: their ``grad`` is not written.

    Parameters
    ----------
    rerun : Rerun
        Entered.
    target : function

    Raises
    ------
    MoedeskError
        If the model can't be run backwards, as with some quantized experts.
    """
    hooks = _Pass(rerun, direct=False)
    with torch.enable_grad(), hooks.hooked():
        value = target(logits_of(rerun.run(), rerun.model)[0, -1])
    return _finished(rerun, hooks, value, 0.0, [])


def run_direct(rerun: Rerun, target_id: int) -> Backward:
    """Run forward and backward once, and return what each part of the stream gives to a logit on the direct path.

    Nothing passes through attentions, MLPs and MoE blocks then, and every norm keeps the scale it has for the token, so that
    the logit is a sum over the parts, and ``constant``.

    Parameters
    ----------
    rerun : Rerun
        Entered.
    target_id : int

    Raises
    ------
    MoedeskError
        If the model can't be run backwards.
    """
    hooks = _Pass(rerun, direct=True)
    notes: list[str] = []
    with torch.enable_grad(), hooks.hooked():
        logits = logits_of(rerun.run(), rerun.model)[0, -1]
        value, constant, head = logits[target_id], 0.0, hooks.heard.head
        raw = None if head is None or head[1].shape[-1] != len(logits) else head[1].reshape(-1, len(logits))[-1]
        if head is not None and raw is not None:
            factor = _factor(raw, logits)
            if factor is None:
                notes.append(
                    "the direct path is explained up to the logit before the cap that the model puts on its logits"
                )
            value = raw[target_id] * (1.0 if factor is None else factor)
            bias = head[0].bias
            constant = 0.0 if bias is None else float(bias.detach()[target_id]) * (1.0 if factor is None else factor)
    return _finished(rerun, hooks, value, constant, notes)


def _factor(raw: Tensor, logits: Tensor) -> float | None:
    """What the model multiplies its head's output by; None if it does something else with it."""
    with torch.no_grad():
        one, other = raw.double(), logits.double()
        factor = float((one * other).sum() / (one * one).sum().clamp_min(1e-300))
        within = 4 * torch.finfo(raw.dtype).eps * other.abs().amax()
        return factor if bool(((one * factor - other).abs() <= within).all()) else None


def _finished(rerun: Rerun, hooks: _Pass, value: Tensor, constant: float, notes: Sequence[str]) -> Backward:
    heard = hooks.heard
    if not value.requires_grad:
        raise MoedeskError(f"nothing of {type(rerun.model).__name__} passes gradients on to its logits")
    slots, problems = slots_of(rerun, hooks.listeners)
    tensors: list[Tensor] = [
        *(anchor for _, anchor in heard.branches.values()),
        *(each.anchor for each in slots.values()),
        *(tensor for each in slots.values() for _, _, tensor in each.shared),
        *heard.streams.values(),
        *heard.biases,
    ]
    found = _gradients(value, tensors)
    embedding = next((found.get(id(m)) for n, (_, m) in heard.branches.items() if hooks.branches[n].embeds), None)
    return Backward(
        float(value.detach()),
        tuple((hooks.branches[n], _part(_row(v), found.get(id(anchor)))) for n, (v, anchor) in heard.branches.items()),
        slots,
        {place: _part(each.total, found.get(id(each.anchor))) for place, each in slots.items()},
        {
            place: tuple((path, _part(row, found.get(id(tensor)))) for path, row, tensor in each.shared)
            for place, each in slots.items()
        },
        tuple((number, _row(found[id(tensor)])) for number, tensor in heard.streams.items() if id(tensor) in found),
        None if embedding is None else embedding.reshape(-1, embedding.shape[-1]).cpu().double(),
        constant + sum(float((found[id(b)] * b.detach()).double().sum()) for b in heard.biases if id(b) in found),
        problems,
        (*notes, *(f"{path} is no norm that can be frozen; it is linearised at this token" for path in heard.unfrozen)),
    )


def _gradients(value: Tensor, tensors: Sequence[Tensor]) -> dict[int, Tensor]:
    wanted = list({id(tensor): tensor for tensor in tensors if tensor.requires_grad}.values())
    try:
        found = torch.autograd.grad(value, wanted, allow_unused=True)
    except RuntimeError as error:
        raise MoedeskError(f"the model can't be run backwards: {str(error).partition(chr(10))[0]}") from error
    return {id(tensor): gradient for tensor, gradient in zip(wanted, found, strict=True) if gradient is not None}


def _cut(module: nn.Module, args: Any, kwargs: Mapping[str, Any] = NO_NAMES) -> Any:
    """What a branch is given, without gradients."""
    return tuple(map(_detached, args)), {name: _detached(value) for name, value in kwargs.items()}


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def _row(tensor: Tensor) -> Tensor:
    return tensor.detach().reshape(-1, tensor.shape[-1])[-1].cpu().double()


def _part(value: Tensor, gradient: Tensor | None) -> Part:
    return Part(value, torch.zeros_like(value) if gradient is None else _row(gradient))
