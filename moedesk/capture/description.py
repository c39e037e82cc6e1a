"""What is known of the model, as datasets: JSON for the model, a row per layer and per module."""

import json
from collections.abc import Sequence
from dataclasses import fields
from math import nan
from typing import Any, TypeVar

import h5py
import numpy as np

from moedesk.core.model import LayerInfo, ModelInfo, ModuleInfo
from moedesk.core.verification import Verification

T = TypeVar("T", LayerInfo, ModuleInfo)
UNKNOWN = "unknown model"
_SCALARS = ("name", "class_name", "dtype", "device", "parameters", "config", "tokenizer", "versions")


def write_model(file: h5py.File, model: ModelInfo) -> None:
    """Write ``/model``, replacing what was there."""
    if "model" in file:
        del file["model"]
    info = {name: getattr(model, name) for name in _SCALARS}
    info["config"], info["versions"] = dict(model.config), dict(model.versions)
    if model.verification is not None:
        info["verification"] = model.verification.to_json()
    text = json.dumps(info, default=str, ensure_ascii=False, indent=1)
    file.create_dataset("model/info", data=np.frombuffer(text.encode("utf-8", "replace"), np.uint8), track_times=False)
    _write_rows(file, "model/layers", model.layers, LayerInfo)
    _write_rows(file, "model/modules", model.modules, ModuleInfo)


def read_model(file: h5py.File) -> ModelInfo:
    """Read ``/model``; a capture that never saw its model gives an empty one."""
    if "model" not in file:
        return ModelInfo(UNKNOWN, "")
    info = json.loads(file["model/info"][()].tobytes().decode())
    return ModelInfo(
        layers=_read_rows(file["model/layers"], LayerInfo),
        modules=_read_rows(file["model/modules"], ModuleInfo),
        verification=Verification.from_json(info.get("verification")),
        **{name: info[name] for name in _SCALARS if name in info},
    )


def _write_rows(file: h5py.File, path: str, items: Sequence[T], kind: type[T]) -> None:
    names = [field.name for field in fields(kind)]
    rows = [tuple(_stored(getattr(item, name)) for name in names) for item in items]
    types = [_dtype_of(field.type, [row[n] for row in rows]) for n, field in enumerate(fields(kind))]
    dtype = np.dtype(list(zip(names, types, strict=True)))
    options: dict[str, Any] = (
        {"chunks": (min(len(rows), 1024),), "compression": "gzip", "shuffle": True} if rows else {}
    )
    file.create_dataset(path, data=np.array(rows, dtype), track_times=False, **options)


def _stored(value: Any) -> Any:
    return value.encode("utf-8", "replace") if isinstance(value, str) else value


def _dtype_of(kind: object, values: list[Any]) -> str:
    if kind is str:
        return f"S{max((len(value) for value in values), default=0) or 1}"
    return "<f8" if kind is float else "<i8"


def _read_rows(dataset: h5py.Dataset, kind: type[T]) -> tuple[T, ...]:
    """Make objects of rows; columns this version does not know are left out, missing ones take their default."""
    rows = dataset[()]
    names = [field.name for field in fields(kind) if field.name in rows.dtype.names]
    columns = [_plain(rows[name]) for name in names]
    return tuple(kind(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True))


def _plain(column: np.ndarray) -> list[Any]:
    values: list[Any] = column.tolist()
    if column.dtype.kind == "f":  # the one nan, so that a model read back equals the one written
        return [value if value == value else nan for value in values]
    return [value.decode() for value in values] if column.dtype.kind == "S" else values
