"""Explanations as JSON values with their arrays apart, and back: for messages and captures."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from math import isfinite, nan
from typing import Any, get_type_hints

import numpy as np

from moedesk.core.attribution import KINDS, Component, Explanation, TokenPlace
from moedesk.core.errors import MoedeskError

_DTYPES = {np.dtype(np.float64): "iuf", np.dtype(np.int64): "iu", np.dtype(np.bool_): "b"}


def taken_apart(explanation: Explanation) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return an explanation as JSON values (``kind`` and its fields; null for NaN), and its arrays by their names."""
    arrays = {}
    value: dict[str, Any] = {"kind": explanation.KIND}
    for each in fields(explanation):
        content = getattr(explanation, each.name)
        if isinstance(content, np.ndarray):
            arrays[each.name] = np.ascontiguousarray(content)
        else:
            value[each.name] = _plain(content)
    return value, arrays


def _plain(content: Any) -> Any:
    if is_dataclass(content):
        return {each.name: _plain(getattr(content, each.name)) for each in fields(content)}
    if isinstance(content, tuple):
        return [_plain(item) for item in content]
    if isinstance(content, float):
        return content if isfinite(content) else None
    return content


def put_together(value: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Explanation:
    """Return the explanation that ``taken_apart`` took apart. Fields that are not known are left out, missing ones are empty.

    Raises
    ------
    MoedeskError
        If it is none: its kind, or a field of another type or number of axes.
    """
    kind = KINDS.get(str(value.get("kind")))
    if kind is None:
        raise MoedeskError(f"{str(value.get('kind'))!r} is no kind of explanation; there are {', '.join(KINDS)}")
    hints = get_type_hints(kind)
    content: dict[str, Any] = {}
    for each in fields(kind):
        where = f"{kind.KIND}: {each.name}"
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        if isinstance(default, np.ndarray):
            if each.name in arrays:
                content[each.name] = _array(where, arrays[each.name], default)
        elif each.name in value:
            content[each.name] = _typed(where, value[each.name], hints[each.name])
        elif default is MISSING:
            raise MoedeskError(f"{where} is missing")
    made: Explanation = kind(**content)
    return made


def _array(where: str, array: np.ndarray, like: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in _DTYPES[like.dtype] or array.ndim != like.ndim:
        raise MoedeskError(
            f"{where} is {array.ndim}-dimensional {array.dtype}, not {like.ndim}-dimensional {like.dtype}"
        )
    return array.astype(like.dtype, copy=False)


def _typed(where: str, value: Any, hint: Any) -> Any:
    """A JSON value as what a field says it is."""
    if hint is float and (value is None or (isinstance(value, int | float) and not isinstance(value, bool))):
        return nan if value is None else float(value)
    if hint in (int, str) and type(value) is hint:
        return value
    if hint is TokenPlace and isinstance(value, Mapping):
        return _record(where, value, TokenPlace)
    if hint == tuple[str, ...] and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if hint == tuple[Component, ...] and isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
        return tuple(_record(where, item, Component) for item in value)
    raise MoedeskError(f"{where} is {str(value)[:40]!r}, which is no {getattr(hint, '__name__', hint)}")


def _record(where: str, value: Mapping[str, Any], kind: type) -> Any:
    hints = get_type_hints(kind)
    names = {each.name for each in fields(kind)}
    try:
        return kind(**{n: _typed(f"{where}.{n}", v, hints[n]) for n, v in value.items() if n in names})
    except TypeError:
        raise MoedeskError(f"{where} lacks what it needs") from None
