"""A ``ModelInfo`` as JSON, for the wire: columns of layers and modules, since a model may have a hundred thousand of these."""

import json
from collections.abc import Sequence
from dataclasses import fields
from math import inf, nan
from typing import Any, TypeVar

from moedesk.core.model import LayerInfo, ModelInfo, ModuleInfo
from moedesk.core.verification import Verification
from moedesk.link.protocol import LinkError

T = TypeVar("T", LayerInfo, ModuleInfo)
_SCALARS: dict[str, type] = {
    "name": str, "class_name": str, "dtype": str, "device": str, "parameters": int, "config": dict, "tokenizer": str,
    "versions": dict,
}  # fmt: skip
_CONSTANTS = {"NaN": nan, "Infinity": inf, "-Infinity": -inf}


def model_to_json(model: ModelInfo) -> bytes:
    """Return a model as JSON, utf-8; values of its configuration that JSON lacks go as text."""
    content: dict[str, Any] = {name: getattr(model, name) for name in _SCALARS}
    content["config"], content["versions"] = dict(model.config), dict(model.versions)
    content["layers"], content["modules"] = _columns(model.layers, LayerInfo), _columns(model.modules, ModuleInfo)
    content["verification"] = None if model.verification is None else model.verification.to_json()
    return json.dumps(content, default=str, ensure_ascii=False).encode("utf-8", "replace")


def model_from_json(text: bytes) -> ModelInfo:
    """Return the model; what this version doesn't know is left out, what is missing takes its default.

    Raises
    ------
    LinkError
        It is no model.
    """
    try:
        # the one nan, so that a model that came equals the one that was sent
        content = json.loads(text, parse_constant=_CONSTANTS.__getitem__)
        scalars = {name: content[name] for name in _SCALARS if name in content}
        if not all(isinstance(value, _SCALARS[name]) for name, value in scalars.items()):
            raise TypeError
        layers, modules = _rows(content["layers"], LayerInfo), _rows(content["modules"], ModuleInfo)
        verification = Verification.from_json(content.get("verification"))
        return ModelInfo(layers=layers, modules=modules, verification=verification, **scalars)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise LinkError("a model's description that is none") from None


def _columns(items: Sequence[T], kind: type[T]) -> dict[str, list[Any]]:
    return {field.name: [getattr(item, field.name) for item in items] for field in fields(kind)}


def _rows(columns: dict[str, list[Any]], kind: type[T]) -> tuple[T, ...]:
    if not isinstance(columns, dict):
        raise TypeError
    types: dict[str, Any] = {field.name: field.type for field in fields(kind) if field.name in columns}
    for name, wanted in types.items():
        if not all(type(value) is wanted or (wanted is float and type(value) is int) for value in columns[name]):
            raise TypeError
    names = list(types)
    return tuple(
        kind(**dict(zip(names, row, strict=True))) for row in zip(*(columns[name] for name in names), strict=True)
    )
