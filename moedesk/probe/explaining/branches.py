"""What adds to the residual stream that a model's logits are read from: the parts of the way to them, and the decoder layers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from moedesk.core.attribution import Component
from moedesk.core.errors import MoedeskError
from moedesk.probe.explaining.component_names import name_components
from moedesk.probe.explaining.rerun import Rerun, logits_of
from moedesk.probe.explaining.stream_path import StreamPath, find_path
from moedesk.probe.explaining.tape import Node, Tape
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.discovery import inside, parent_path

_ATTENTION = re.compile(r"attention|attn", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Branch:
    """A module whose output is added to the residual stream.

    Attributes
    ----------
    component : Component
    leaves : tuple of int
        Places of what it adds among the path's leaves.
    places : tuple of int
        Of the MoE layers in it.
    """

    component: Component
    leaves: tuple[int, ...]
    places: tuple[int, ...] = ()

    @property
    def embeds(self) -> bool:
        """Whether it is an embedding, which reads no stream."""
        return self.component.kind == "embedding"


@dataclass(frozen=True, eq=False)
class DirectPath:
    """The way from all that is added to the stream to the logits.

    Attributes
    ----------
    path : StreamPath
    branches : tuple of Branch
        In the order of the forward.
    """

    path: StreamPath
    branches: tuple[Branch, ...]


@dataclass(frozen=True, eq=False)
class DecoderLayer:
    """An element of the model's stack: what the stream passes through.

    Attributes
    ----------
    path : str
    number : int
    module : Module
    """

    path: str
    number: int
    module: nn.Module


def decoder_layers(model: nn.Module, bindings: Sequence[Binding]) -> tuple[DecoderLayer, ...]:
    """Return the elements of the list that holds the MoE blocks, in order; empty if they are in none."""
    if not bindings:
        return ()
    parts = bindings[0].layer.path.split(".")
    for end in range(len(parts)):
        path = ".".join(parts[:end])
        found = model.get_submodule(path)
        if isinstance(found, nn.ModuleList | nn.Sequential | nn.ModuleDict) and _numbered(found):
            return tuple(
                DecoderLayer(f"{path}.{name}" if path else name, number, child)
                for number, (name, child) in enumerate(found.named_children())
            )
    return ()


def _numbered(found: nn.Module) -> bool:
    names = [name for name, _ in found.named_children()]
    return bool(names) and all(name.rpartition("_")[2].isdigit() for name in names)


def find_direct_path(rerun: Rerun) -> DirectPath:
    """Return the way to the logits: run the model, watching its operations. MoE blocks are parts of it as they are.

    Parameters
    ----------
    rerun : Rerun
        Entered.

    Raises
    ------
    MoedeskError
        If logits, or a part, are made out of sight.
    """
    model = rerun.model
    tape = Tape(model, _unheeded)
    with tape:
        end = tape.node(logits_of(rerun.run(), model))
    blocks = [binding.candidate.block_path for binding in rerun.bindings if _is_part(binding)]
    path = find_path(end, opened=_around(decoder_layers(model, rerun.bindings), blocks), whole=blocks)
    hidden = [leaf.node.name for leaf in path.leaves if leaf.node.number < 0]
    if end.number not in path.operations or hidden:
        raise MoedeskError(
            f"{hidden[0] if hidden else end.name} runs out of sight (a kernel of its own), so the stream can't be followed"
        )
    components = name_components(model, tuple(path.parts), [binding.candidate.path for binding in rerun.bindings])
    found = zip(components, path.parts.values(), strict=True)
    return DirectPath(path, tuple(Branch(c, tuple(leaves), _layers_in(c, rerun.bindings)) for c, leaves in found))


def _unheeded(node: Node, tensor: object) -> None:
    """Only the last tensor is looked for."""


def _around(layers: Sequence[DecoderLayer], blocks: Sequence[str]) -> set[str]:
    """Paths of the modules that hold the decoder layers, or the blocks where there are none."""
    found: set[str] = set()
    for path in [layer.path for layer in layers] or blocks:
        while path:
            path = parent_path(path)
            found.add(path)
    return found


def _is_part(binding: Binding) -> bool:
    """Whether a block is one part of the stream; one that holds an attention too is a decoder layer."""
    block = binding.candidate.block
    return bool(binding.candidate.block_path) and not any(_ATTENTION.search(name) for name, _ in block.named_children())


def _layers_in(component: Component, bindings: Sequence[Binding]) -> tuple[int, ...]:
    path = component.path
    return tuple(
        b.layer.place for b in bindings if path and (inside(b.layer.path, path) or inside(b.candidate.path, path))
    )
