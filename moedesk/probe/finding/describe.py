"""What a model is, from its modules: kinds, parameter counts, dtypes, configuration, versions. Reads no values."""

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from torch import Tensor, nn

from moedesk.core.model import LayerInfo, ModelInfo, ModuleInfo
from moedesk.probe.finding.discovery import parent_path
from moedesk.probe.finding.parts import is_shared


def describe_model(model: nn.Module, layers: Sequence[LayerInfo], tokenizer: Any = None) -> ModelInfo:
    """Return what is known about a model whose MoE layers are ``layers``."""
    modules = describe_modules(model, layers)
    return ModelInfo(
        name=str(getattr(model, "name_or_path", "") or type(model).__name__),
        class_name=type(model).__name__,
        layers=tuple(layers),
        modules=modules,
        dtype=modules[0].dtype,
        device=modules[0].device,
        parameters=modules[0].parameters,
        config=_config(model),
        tokenizer=str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
        if tokenizer is not None
        else "",
        versions=dict(_versions()),
    )


def describe_modules(model: nn.Module, layers: Sequence[LayerInfo]) -> tuple[ModuleInfo, ...]:
    """Return every module of the tree, in the order of ``named_modules``."""
    places: dict[str, int] = {}
    described = []
    kinds = _special_kinds(layers)
    for path, module in model.named_modules():
        places[path] = len(places)
        own = [parameter for _, parameter in module.named_parameters(recurse=False)]
        every = list(module.parameters())
        shapes = ", ".join(f"{name} {_shape(p)}" for name, p in module.named_parameters(recurse=False))
        described.append(
            ModuleInfo(
                path=path,
                name=path.rpartition(".")[2] or type(module).__name__,
                class_name=type(module).__name__,
                parent=places[parent_path(path)] if path else -1,
                kind=kinds.get(path) or _kind(path, module, kinds),
                layer=_layer_of(path, layers),
                own_parameters=sum(parameter.numel() for parameter in own),
                parameters=sum(parameter.numel() for parameter in every),
                dtype=_one(str(p.dtype).removeprefix("torch.") for p in every),
                device=_one(str(p.device) for p in every),
                shapes=shapes,
            )
        )
    return tuple(described)


def _special_kinds(layers: Sequence[LayerInfo]) -> dict[str, str]:
    kinds = {layer.path: "moe" for layer in layers}
    kinds |= {layer.router_path: "router" for layer in layers if layer.router_path}
    return kinds | {layer.experts_path: "experts" for layer in layers}


def _kind(path: str, module: nn.Module, kinds: Mapping[str, str]) -> str:
    parent = parent_path(path)
    name = type(module).__name__
    if kinds.get(parent) == "experts" and path.rpartition(".")[2].rpartition("_")[2].isdigit():
        return "expert"
    if kinds.get(parent) == "moe" and is_shared(path.rpartition(".")[2]):
        return "shared"
    if isinstance(module, nn.Embedding):
        return "embedding"
    if isinstance(module, nn.Linear):
        return "linear"
    if "Attention" in name:
        return "attention"
    return "norm" if "Norm" in name else "module"


def _layer_of(path: str, layers: Sequence[LayerInfo]) -> int:
    """The innermost MoE layer whose block holds a module, or -1."""
    holders = [layer for layer in layers if path == layer.path or path.startswith(layer.path + ".")]
    return max(holders, key=lambda layer: len(layer.path)).place if holders else -1


def _shape(tensor: Tensor) -> str:
    return "×".join(str(size) for size in tensor.shape) or "scalar"


def _one(names: Iterable[str]) -> str:
    found = set(names)
    return "" if not found else found.pop() if len(found) == 1 else "mixed"


def _config(model: nn.Module) -> dict[str, object]:
    config: Any = getattr(model, "config", None)
    values = config.to_dict() if hasattr(config, "to_dict") else config if isinstance(config, dict) else {}
    return dict(json.loads(json.dumps(values, default=str)))


@cache  # reading a package's metadata takes a millisecond
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("moedesk", "torch", "transformers", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
