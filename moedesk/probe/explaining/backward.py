"""One forward and backward of the model for one token's target: what reaches it from everything that is added to the stream."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from moedesk.core.errors import MoedeskError
from moedesk.probe.explaining.branches import Branch, DecoderLayer, DirectPath, decoder_layers
from moedesk.probe.explaining.heard import slots_of
from moedesk.probe.explaining.rerun import Rerun, logits_of
from moedesk.probe.explaining.slots import SlotListener, Slots
from moedesk.probe.explaining.split import PathRun, Reached, linear_in_first
from moedesk.probe.explaining.stream_path import NORMS, SIZES
from moedesk.probe.explaining.tape import unseen
from moedesk.probe.finding.lookout import NO_NAMES

Target = Callable[[Tensor], Tensor]
"""Takes the (V,) logits of the token; returns the number whose gradient is wanted."""


@dataclass(frozen=True, eq=False)
class Part:
    """A tensor of the forward, what of it is the token's, and the target's gradient with respect to that.

    Attributes
    ----------
    value, gradient : (D,) float64 tensors on the host
        The gradient is 0 where nothing of the tensor reaches the target.
    product : float
        Gradient × value.
    size : float
        The largest that the product could be, whatever the signs: what rounding is measured by.
    """

    value: Tensor
    gradient: Tensor
    product: float
    size: float


@dataclass(frozen=True, eq=False)
class Backward:
    """What one backward found.

    Attributes
    ----------
    target : float
        Its value.
    branches : tuple of (Branch, Part)
        In the order of the forward.
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
        What biases of norms and of the head give; 0 unless norms are frozen.
    unreached : tuple of int
        Places of layers of whose slots nothing reaches the target.
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
    unreached: tuple[int, ...]
    problems: Mapping[int, str]
    notes: tuple[str, ...] = ()


class _DirectRun(PathRun):
    """Within MoE blocks, whose graph is kept, norms behind the experts are taken for given as well."""

    def beside(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Carry out an operation that is not on the path."""
        if name in NORMS:
            return linear_in_first(name, func, args, kwargs)
        output = func(*args, **kwargs)
        return output.detach() if name in SIZES else output


class _Pass:
    """The hooks of one forward with gradients, which is carried out by ``run``.

    Parameters
    ----------
    rerun : Rerun
    path : DirectPath or None
        None if it is not known: then there are no branches.
    direct : bool
        Whether only what goes straight from the stream to the logits counts: nothing passes through attentions, MLPs and
        MoE blocks, and norms keep their scale, mixed streams their factors.
    """

    def __init__(self, rerun: Rerun, path: DirectPath | None, direct: bool) -> None:
        self._rerun, self._direct = rerun, direct
        self._handles: list[RemovableHandle] = []
        self.streams: dict[int, Tensor] = {}
        self.branches = () if path is None else path.branches
        self.listeners = {b.layer.place: SlotListener(b, _marked) for b in rerun.bindings}
        self.run: PathRun | None = None
        if path is not None and direct:
            blocks = [leaf for branch in self.branches if branch.places for leaf in branch.leaves]
            self.run = _DirectRun(path.path, blocks)
        elif path is not None:
            self.run = PathRun(replace(path.path, operations={}), range(len(path.path.leaves)))

    def logits(self) -> Tensor:
        """(V,) logits of the token, with a graph."""
        with self._hooked(), self.run or nullcontext(), suppress(Reached):
            output = self._rerun.run()
            return logits_of(output, self._rerun.model)[0, -1]
        assert self.run is not None
        assert self.run.end is not None
        return self.run.end[0, -1]

    def part(self, tensors: Sequence[Tensor], gradients: Mapping[int, Tensor]) -> Part:
        """Return what a branch adds in some tensors: to the token; the direct path may lead there from other tokens, too."""
        values = [tensor.detach().cpu().double() for tensor in tensors]
        slopes = [
            gradients[id(t)].cpu().double() if id(t) in gradients else torch.zeros_like(t).double() for t in tensors
        ]
        own, reach = (torch.cat([self._own(each) for each in found]) for found in (values, slopes))
        terms = (
            torch.cat([(v * s).flatten() for v, s in zip(values, slopes, strict=True)]) if self._direct else own * reach
        )
        return Part(own, reach, float(terms.sum()), float(terms.abs().sum()))

    def _own(self, tensor: Tensor) -> Tensor:
        """What of a tensor is the last token's, in all streams; all of it if it has no axis of tokens."""
        tokens = len(self._rerun.passage.ids)
        return tensor.reshape(tokens, -1)[-1] if tokens in tensor.shape[:2] else tensor.flatten()

    @contextmanager
    def _hooked(self) -> Iterator[None]:
        try:
            for layer in decoder_layers(self._rerun.model, self._rerun.bindings):
                self._on(layer.module.register_forward_pre_hook(self._before_layer(layer), with_kwargs=True))
            for listener in self.listeners.values():
                listener.attach()
            for path in {branch.component.path for branch in self.branches if self._direct and branch.places}:
                self._on(self._rerun.model.get_submodule(path).register_forward_pre_hook(_cut, with_kwargs=True))
            yield
        finally:
            for handle in self._handles:
                handle.remove()
            for listener in self.listeners.values():
                listener.detach()

    def _on(self, handle: RemovableHandle) -> None:
        self._handles.append(handle)

    def _before_layer(self, layer: DecoderLayer) -> Callable[..., Any]:
        def before(module: nn.Module, args: Any, kwargs: Mapping[str, Any] = NO_NAMES) -> Any:
            for value in (*args, *kwargs.values()):
                if isinstance(value, Tensor) and value.is_floating_point() and value.requires_grad:
                    self.streams[layer.number] = value
                    return

        return before


def run_gradient(rerun: Rerun, path: DirectPath | None, target: Target) -> Backward:
    """Run forward and backward once, and return the gradient of a target with respect to each part of the stream.

    Parameters are left alone: their ``grad`` is not written.

    Parameters
    ----------
    rerun : Rerun
        Entered.
    path : DirectPath or None
        Without one there are no branches.
    target : function

    Raises
    ------
    MoedeskError
        If the model can't be run backwards, as with some quantized experts.
    """
    hooks = _Pass(rerun, path, direct=False)
    with torch.enable_grad():
        value = target(hooks.logits())
    return _finished(rerun, hooks, value, ())


def run_direct(rerun: Rerun, path: DirectPath, target_id: int) -> Backward:
    """Run forward and backward once, and return what each part of the stream gives to a logit on the direct path.

    Nothing passes through attentions, MLPs and MoE blocks then; every norm keeps the scale it has for the token, and every factor
    that is made of the stream its value, so that the logit is a sum over the parts, and ``constant``.

    Parameters
    ----------
    rerun : Rerun
        Entered.
    path : DirectPath
    target_id : int

    Raises
    ------
    MoedeskError
        If the model can't be run backwards.
    """
    hooks = _Pass(rerun, path, direct=True)
    with torch.enable_grad():
        value = hooks.logits()[target_id]
    curves = " and ".join(path.path.curves)
    note = f"{curves} on the way to the logits: its value over its argument is taken for given too"
    return _finished(rerun, hooks, value, (note,) if curves else ())


def _finished(rerun: Rerun, hooks: _Pass, value: Tensor, notes: Sequence[str]) -> Backward:
    if not value.requires_grad:
        raise MoedeskError(f"nothing of {type(rerun.model).__name__} passes gradients on to its logits")
    slots, problems = slots_of(rerun, hooks.listeners)
    leaves, constants = ({}, []) if hooks.run is None else (hooks.run.leaves, hooks.run.constants)
    tensors: list[Tensor] = [
        *leaves.values(),
        *(each.anchor for each in slots.values()),
        *(tensor for each in slots.values() for _, _, tensor in each.shared),
        *hooks.streams.values(),
        *constants,
    ]
    found = _gradients(value, tensors)
    embedded = (branch.leaves[0] for branch in hooks.branches if branch.embeds)
    embedding = next((found[id(leaves[place])] for place in embedded if id(leaves[place]) in found), None)
    return Backward(
        float(value.detach()),
        tuple((branch, hooks.part([leaves[place] for place in branch.leaves], found)) for branch in hooks.branches),
        slots,
        {place: _part(each.total, found.get(id(each.anchor))) for place, each in slots.items()},
        {
            place: tuple((path, _part(row, found.get(id(tensor)))) for path, row, tensor in each.shared)
            for place, each in slots.items()
        },
        tuple((number, _row(found[id(tensor)])) for number, tensor in hooks.streams.items() if id(tensor) in found),
        None if embedding is None else embedding.reshape(-1, embedding.shape[-1]).cpu().double(),
        sum(float((found[id(b)] * b.detach()).double().sum()) for b in constants if id(b) in found),
        tuple(place for place, each in slots.items() if id(each.anchor) not in found),
        problems,
        tuple(notes),
    )


@unseen
def _marked(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """What stands for a tensor in gradients, and a copy that is used: gradients begin at it if nothing goes through it."""
    anchor = tensor if tensor.requires_grad else tensor.detach().clone().requires_grad_()
    return anchor, anchor.clone()


def _gradients(value: Tensor, tensors: Sequence[Tensor]) -> dict[int, Tensor]:
    wanted = list({id(tensor): tensor for tensor in tensors if tensor.requires_grad}.values())
    try:
        found = torch.autograd.grad(value, wanted, allow_unused=True)
    except RuntimeError as error:
        raise MoedeskError(f"the model can't be run backwards: {str(error).partition(chr(10))[0]}") from error
    return {id(tensor): gradient for tensor, gradient in zip(wanted, found, strict=True) if gradient is not None}


@unseen
def _cut(module: nn.Module, args: Any, kwargs: Mapping[str, Any] = NO_NAMES) -> Any:
    """What a branch is given, without gradients."""
    return tuple(map(_detached, args)), {name: _detached(value) for name, value in kwargs.items()}


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def _row(tensor: Tensor) -> Tensor:
    return tensor.detach().reshape(-1, tensor.shape[-1])[-1].cpu().double()


def _part(value: Tensor, gradient: Tensor | None) -> Part:
    slope = torch.zeros_like(value) if gradient is None else _row(gradient)
    return Part(value, slope, float(slope @ value), float(slope.abs() @ value.abs()))
