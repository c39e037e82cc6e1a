"""Names for the parts of the residual stream, by the modules that add them."""

import re
from collections import Counter
from collections.abc import Collection, Sequence

from torch import nn

from moedesk.core.attribution import Component
from moedesk.probe.explaining.stream_path import Leaf
from moedesk.probe.finding.parts import is_shared

_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_CROSS = re.compile(r"cross|enc_?dec|encoder_att", re.IGNORECASE)
_MIXER = re.compile(r"mamba|ssm|delta|recurrent|rwkv|conv|linear_attn", re.IGNORECASE)
_KINDS = (
    ("mixer", _MIXER),
    ("attention", _ATTENTION),
    ("mlp", re.compile(r"mlp|ffn|feed_?forward|dense", re.IGNORECASE)),
)
_WORDS = {"moe": "MoE", "mlp": "MLP", "shared": "shared experts"}


def name_components(model: nn.Module, leaves: Sequence[Leaf], experts_paths: Collection[str]) -> tuple[Component, ...]:
    """Return a component for each leaf, all of different names.

    Parameters
    ----------
    model : Module
    leaves : sequence of Leaf
    experts_paths : collection of str
        Paths of the modules that hold routed experts.
    """
    modules = dict(model.named_modules())
    named = [_component(leaf, modules, experts_paths) for leaf in leaves]
    often = Counter(component.name for component in named)
    taken: Counter[str] = Counter()
    unique: list[Component] = []
    for component in named:
        name = component.name
        if often[name] > 1:
            taken[name] += 1
            name = f"{name} ({_below_block(component.path) or taken[name]})"
            name = name if name not in {each.name for each in unique} else f"{name[:-1]}, {taken[component.name]})"
        unique.append(Component(name, component.kind, component.path, component.block))
    return tuple(unique)


def _component(leaf: Leaf, modules: dict[str, nn.Module], experts_paths: Collection[str]) -> Component:
    if leaf.frame is None:
        path = leaf.node.frames[-1][0] if leaf.node.frames else ""
        block, last = block_of(path), path.rpartition(".")[2]
        if leaf.node.name == "embedding":
            return Component("embedding", "embedding", path, block)
        word = leaf.node.name if not last or last.isdecimal() else last
        return Component(word if block < 0 else f"{word} {block}", "other", path, block)
    path = leaf.frame[0]
    block = block_of(path)
    if block >= 0 and not _below_block(path):  # a whole decoder layer, through which nothing passes
        return Component(f"layer {block}", "other", path, block)
    kind = _kind(path, modules[path], experts_paths)
    word = _WORDS.get(kind, _named_part(path) if kind == "other" else kind)
    word = "cross-attention" if kind == "attention" and _CROSS.search(_named_part(path)) else word
    return Component(word if block < 0 else f"{word} {block}", kind, path, block)


def _kind(path: str, module: nn.Module, experts_paths: Collection[str]) -> str:
    name = _named_part(path)
    if _ATTENTION.search(name) and not _MIXER.search(name):  # also where experts make its projections (JetMoE)
        return "attention"
    if any(each == path or each.startswith(path + ".") for each in experts_paths):
        return "moe"
    if is_shared(name):
        return "shared"
    if isinstance(module, nn.Embedding) or "embed" in name.lower():
        return "embedding"
    texts = (type(module).__name__, name)
    return next((kind for kind, words in _KINDS if any(words.search(text) for text in texts)), "other")


def block_of(path: str) -> int:
    """Return the number of the decoder layer in a module's path, or -1."""
    return next((int(part) for part in path.split(".") if part.isdecimal()), -1)


def _named_part(path: str) -> str:
    """The last part of a path that is no number: ``self_attn`` of ``self_attn.0``."""
    return next((part for part in reversed(path.split(".")) if not part.isdecimal()), path)


def _below_block(path: str) -> str:
    """The path after the number of its decoder layer."""
    parts = path.split(".")
    place = next((place for place, part in enumerate(parts) if part.isdecimal()), len(parts))
    return ".".join(parts[place + 1 :])
