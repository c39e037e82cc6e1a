"""What adds to a model's residual stream: embeddings, attentions, MLPs and MoE blocks, found in its module tree."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from moedesk.core.attribution import Component
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.discovery import inside
from moedesk.probe.finding.parts import is_shared

_ATTENTION = re.compile(r"attention|attn", re.IGNORECASE)
_MIXER = re.compile(r"mamba|mixer|delta|ssm|conv|recurrent|rwkv|lightning|linear_?attn", re.IGNORECASE)
_NORM = re.compile(r"norm|(^|_)ln(_|\d|$)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Branch:
    """A module whose output is added to the residual stream.

    Attributes
    ----------
    component : Component
    module : Module
    places : tuple of int
        Of the MoE layers in it.
    """

    component: Component
    module: nn.Module
    places: tuple[int, ...] = ()

    @property
    def embeds(self) -> bool:
        """Whether it is an embedding, which reads no stream."""
        return self.component.kind == "embedding"


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


def find_branches(model: nn.Module, bindings: Sequence[Binding]) -> tuple[Branch, ...]:
    """Return the branches of a decoder, in the order of its module tree.

    They are the embeddings outside of the decoder layers, and the children of each decoder layer that have parameters and are no
    norms. A decoder layer that is itself an MoE block is one branch.
    """
    layers = decoder_layers(model, bindings)
    tops = tuple(layer.path for layer in layers)
    found = [
        Branch(Component("embedding" if number == 0 else f"embedding {number}", "embedding", path), module)
        for number, (path, module) in enumerate(_embeddings(model, tops))
    ]
    for layer in layers:
        for path, module in _parts(layer, bindings):
            places = tuple(
                b.layer.place for b in bindings if inside(b.layer.path, path) or inside(b.candidate.path, path)
            )
            kind = "moe" if places else _kind(path, module)
            found.append(Branch(Component(_name(kind, layer.number, path), kind, path, layer.number), module, places))
    return tuple(found)


def is_norm(path: str, module: nn.Module) -> bool:
    """Return whether a module is a norm, by its class or its name."""
    own = path.rpartition(".")[2]
    return bool(_NORM.search(type(module).__name__) or _NORM.search(own)) and len(list(module.parameters())) <= 2


def _numbered(found: nn.Module) -> bool:
    names = [name for name, _ in found.named_children()]
    return bool(names) and all(name.rpartition("_")[2].isdigit() for name in names)


def _embeddings(model: nn.Module, tops: Sequence[str]) -> list[tuple[str, nn.Module]]:
    get: Any = getattr(model, "get_input_embeddings", None)
    main = get() if get is not None else None
    found = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.Embedding) and not any(inside(path, top) for top in tops)
    ]
    named = [(path, module) for path, module in model.named_modules() if main is not None and module is main]
    return [*named, *(pair for pair in found if pair[1] is not main)]


def _parts(layer: DecoderLayer, bindings: Sequence[Binding]) -> list[tuple[str, nn.Module]]:
    """The children of a decoder layer that read and write the stream; itself, if it is a block."""
    is_block = any(binding.layer.path == layer.path for binding in bindings)
    if is_block and not any(_kind(name, child) == "attention" for name, child in layer.module.named_children()):
        return [(layer.path, layer.module)]
    parts = []
    for name, child in layer.module.named_children():
        path = f"{layer.path}.{name}"
        several = list(child.named_children()) if type(child) is nn.ModuleList else [("", child)]
        for number, module in several:
            whole = f"{path}.{number}" if number else path
            if any(True for _ in module.parameters()) and not is_norm(path, module):
                parts.append((whole, module))
    return parts


def _kind(path: str, module: nn.Module) -> str:
    if is_shared(path.rpartition(".")[2]):
        return "shared"
    words = f"{path.rpartition('layers.')[2]} {type(module).__name__}"
    if _MIXER.search(words):
        return "mixer"
    if _ATTENTION.search(words):
        return "attention"
    return "mlp" if any(True for _ in module.parameters()) else "other"


def _name(kind: str, number: int, path: str) -> str:
    shown = {"moe": "MoE", "mlp": "MLP"}.get(kind, kind)
    return f"{shown} {number}"
