"""What there is to say about a module, a router, an expert or the model itself, as labelled lines."""

import re
from dataclasses import dataclass
from math import isnan

from moedesk.core.model import LayerInfo
from moedesk.core.verification import Verification
from moedesk.core.verification_text import NEVER, check_text
from moedesk.panels.elements.model_tree import ROOT, Outline

_BYTES = {
    "float64": 8,
    "int64": 8,
    "float32": 4,
    "int32": 4,
    "bfloat16": 2,
    "float16": 2,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
}
_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_STACKED = re.compile(r"^(\S+) (\d+)×(.+)$")


@dataclass(frozen=True)
class Fact:
    """A labelled line; ``hint`` is shown on hover."""

    label: str
    value: str
    hint: str = ""


def short_count(number: int) -> str:
    """Return a count in three digits: ``5.06 M``."""
    for size, unit in _UNITS:
        if number >= size * 0.9995:
            return f"{number / size:.3g} {unit}" if number / size < 999.5 else f"{number / size:.0f} {unit}"
    return f"{number}"


def parameters(outline: Outline, node: int) -> int:
    """Return the parameters of a node with everything below; of an expert without a module, its slices."""
    module = outline.module(node)
    if not outline.is_virtual(node):
        return module.parameters
    info = outline.layer_info(node)
    return (
        module.own_parameters // info.experts if info is not None and module.own_parameters % info.experts == 0 else 0
    )


def shapes(outline: Outline, node: int) -> str:
    """Return a node's own tensors and their shapes; of an expert without a module, its slices of the stacked ones."""
    text = outline.module(node).shapes
    info = outline.layer_info(node)
    if not outline.is_virtual(node) or info is None:
        return text
    slices = []
    for part in text.split(", "):
        found = _STACKED.match(part)
        if found and int(found[2]) == info.experts:
            slices.append(f"{found[1]}[{outline.expert[node]}] {found[3]}")
    return ", ".join(slices)


def as_python(outline: Outline, node: int) -> str:
    """Return the expression that gets a node's module, or an expert's first slice, from ``model``."""
    path = outline.module(node).path
    module = f'model.get_submodule("{path}")' if path else "model"
    if not outline.is_virtual(node):
        return module
    tensor = _STACKED.match(outline.module(node).shapes)
    return f"{module}.{tensor[1]}[{outline.expert[node]}]" if tensor else module


def facts(outline: Outline, node: int) -> list[Fact]:
    """Return what is known of a node's module."""
    module, total = outline.module(node), outline.model.parameters or outline.modules[ROOT].parameters
    below = parameters(outline, node)
    lines = [Fact("Class", module.class_name if not outline.is_virtual(node) else f"slice of {module.class_name}")]
    if below:
        lines.append(Fact("Parameters", _parameters(outline, node, below), "Shared parameters are counted once"))
    elif outline.is_virtual(node):
        lines.append(Fact("Parameters", "unknown: the tensors are not stacked by expert"))
    else:
        lines.append(Fact("Parameters", "none"))
    if total and below:
        lines.append(Fact("Share of the model", f"{100 * below / total:.3g} %", f"{below:,} of {total:,} parameters"))
    if module.dtype:
        lines.append(Fact("Data type", module.dtype))
        if module.dtype in _BYTES and below:
            size = below * _BYTES[module.dtype]
            lines.append(Fact("Memory", f"{_bytes(size)}", f"{size:,} bytes: parameters × {_BYTES[module.dtype]}"))
    if module.device:
        lines.append(Fact("Device", module.device, "While it was recorded"))
    own = shapes(outline, node)
    if own:
        lines.append(Fact("Own tensors", own.replace(", ", "\n")))
    if node == ROOT:
        lines += _model_facts(outline)
    return lines


def layer_facts(info: LayerInfo, verification: Verification | None = None) -> list[Fact]:
    """Return what is known of an MoE layer's routing, and what the self-test found of it."""
    lines = [
        Fact("Experts", f"{info.experts}, top-{info.top_k}" + (f", and {info.shared} shared" if info.shared else "")),
        ranking(info),
    ]
    if info.stream != "main":
        lines.append(Fact("Token stream", info.stream))
    if isnan(info.post_scale):
        lines.append(Fact("Scale after experts", "not known", "Not measured, or what follows is not linear"))
    elif info.post_scale != 1:
        lines.append(
            Fact("Scale after experts", f"{info.post_scale:g}", "Measured: weights are as the experts received them")
        )
    return [*lines, self_test(verification, info)]


def self_test(verification: Verification | None, info: LayerInfo | None = None) -> Fact:
    """Return what the self-test found of a layer, check by check, or of the model."""
    if verification is None:
        return Fact("Self-test", f"{NEVER}", "Tests that what is captured is what the model does; see docs/verify.md")
    when = f"{verification.created} · {verification.conditions}"
    if info is None:
        checks = [check_text(check) for check in verification.checks]
        return Fact("Self-test", "\n".join([verification.summary, *checks, *verification.notes]), when)
    found = verification.layer(info.path, info.experts_path)
    if found is None:
        return Fact("Self-test", "this layer was not among those tested", when)
    return Fact("Self-test", "\n".join([str(found.verdict), *(check_text(check) for check in found.checks)]), when)


def router_facts(info: LayerInfo) -> list[Fact]:
    """Return how a router chooses, and between what."""
    where = f"MoE {info.place}, {info.path}"
    return [
        ranking(info),
        Fact("Chooses", f"{info.top_k} of {info.experts} experts"),
        Fact("Works in", where, info.block),
    ]


def ranking(info: LayerInfo) -> Fact:
    """Return what a layer's router ranks its experts by."""
    if info.score == "unknown":
        return Fact("Ranks by", "not known", "The score that its top-k works on was not found, so there are no margins")
    return Fact("Ranks by", info.score, "The score that the router's top-k works on, seen while it was recorded")


def _parameters(outline: Outline, node: int, below: int) -> str:
    own = below if outline.is_virtual(node) else outline.module(node).own_parameters
    text = f"{below:,}" if below < 1000 else f"{short_count(below)} ({below:,})"
    if own == below:
        return text
    return f"{text}, own {own:,}" if own else f"{text}, all in what is below"


def _model_facts(outline: Outline) -> list[Fact]:
    model = outline.model
    lines = [Fact("MoE layers", f"{len(model.layers)}"), self_test(model.verification)]
    if model.tokenizer:
        lines.append(
            Fact("Tokenizer", model.tokenizer.rstrip("/\\").replace("\\", "/").split("/")[-1], model.tokenizer)
        )
    if model.versions:
        lines.append(Fact("Recorded with", "\n".join(f"{name} {version}" for name, version in model.versions.items())))
    return lines


def _bytes(size: int) -> str:
    for limit, unit in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= limit:
            return f"{size / limit:.3g} {unit}"
    return f"{size} bytes"
