"""``inspect(x)``: shows something in the app; its attributes are those of the standard library's ``inspect``."""

import inspect as standard
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from moedesk.core.errors import MoedeskError
from moedesk.core.model import LayerInfo, ModelInfo
from moedesk.core.selection import Selection
from moedesk.probe.console.moe import Moe
from moedesk.probe.console.selected_place import Selected

_EXPERT = re.compile(r"(?:expert\s*)?(\d+)\s*[.:/]\s*(\d+)$")
_NUMBERED = re.compile(r"(pass|layer|token)\s*(\d+)$")

Place = dict[str, Any]
"""Fields of ``core.selection.Selection`` that are set, with their ``kind``."""


class Inspect:
    """Reveals something in the app: an expert, a layer, a pass, a token, a module.

    In place of the standard library's ``inspect``, whose functions it has too.

    Examples
    --------
    >>> inspect("3.7")             # expert 7 of layer 3; also "layer 3", "pass 12", "token 200"
    >>> inspect($0)                # what was selected last, from ``$0`` to ``$4``
    >>> inspect(model.model.layers[3].mlp.gate)
    >>> inspect.signature(model.forward)
    """

    def __init__(self, moe: Moe) -> None:
        self._moe = moe

    def __call__(self, x: Any) -> None:
        """Show ``x`` in the app.

        Parameters
        ----------
        x : selection, torch.nn.Module, LayerInfo, str or int
            A module of the attached model; a text like ``"3.7"``, ``"layer 3"`` or a module's path; an int is a layer.

        Raises
        ------
        MoedeskError
            If there is no such thing.
        """
        self._moe.inspect(x)

    def __getattr__(self, name: str) -> Any:
        return getattr(standard, name)

    def __dir__(self) -> list[str]:
        return dir(standard)

    def __repr__(self) -> str:
        return 'inspect(x) shows an expert ("3.7"), a layer ("layer 3"), a module or a selection in the app'


def find_place(x: Any, info: ModelInfo | None, model: Any) -> Place:
    """Return where something is.

    Parameters
    ----------
    info : ModelInfo or None
        The attached model; its layers bound the numbers. None if nothing is attached: then numbers are the app's to check.
    model : torch.nn.Module or None

    Raises
    ------
    MoedeskError
        If it isn't there.
    """
    if isinstance(x, Selected):
        return _set(x.fields)
    if isinstance(x, Selection):
        return _set(asdict(x))
    if isinstance(x, LayerInfo):
        return _layer(x.place, info)
    if isinstance(x, int) and not isinstance(x, bool):
        return _layer(x, info)
    if isinstance(x, str):
        return _written(x, info, model)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.nn.Module):
        return _module(x, info, model)
    raise MoedeskError(
        f'inspect takes a module, a selection such as $0, or a text such as "3.7", not a {type(x).__name__}'
    )


def _set(fields: Mapping[str, Any]) -> Place:
    names = ("kind", "pass_id", "layer", "expert", "token", "stream", "module")
    return {name: fields[name] for name in names if fields.get(name) is not None}


def _layer(place: int, info: ModelInfo | None, expert: int | None = None) -> Place:
    layers = info.layers if info is not None else ()
    if layers and not -len(layers) <= place < len(layers):
        raise MoedeskError(f"there is no MoE layer {place}; the model has 0…{len(layers) - 1}")
    place = place % len(layers) if layers else place
    if expert is None:
        return {"kind": "layer", "layer": place}
    if layers and expert >= layers[place].experts:
        raise MoedeskError(f"layer {place} has no expert {expert}; it has 0…{layers[place].experts - 1}")
    return {"kind": "expert", "layer": place, "expert": expert}


def _written(text: str, info: ModelInfo | None, model: Any) -> Place:
    text = text.strip()
    if found := _EXPERT.match(text):
        return _layer(int(found[1]), info, int(found[2]))
    if found := _NUMBERED.match(text):
        kind, number = found[1], int(found[2])
        return _layer(number, info) if kind == "layer" else {"kind": kind, {"pass": "pass_id"}.get(kind, kind): number}
    modules = dict(model.named_modules(remove_duplicate=False)) if model is not None else {}
    if text in modules:
        return _path(text, info)
    raise MoedeskError(
        f'there is no {text!r}: write "3.7" (layer.expert), "layer 3", "pass 12", "token 200" or a module\'s path'
    )


def _module(module: Any, info: ModelInfo | None, model: Any) -> Place:
    paths = (path for path, other in model.named_modules() if other is module) if model is not None else iter(())
    path = next(paths, None)
    if path is None:
        raise MoedeskError(
            f"this {type(module).__name__} is no module of the attached model; moe.attach(model) comes first"
        )
    return _path(path, info)


def _path(path: str, info: ModelInfo | None) -> Place:
    """A module's place: an expert or a layer if it is one."""
    for layer in info.layers if info is not None else ():
        if path == layer.path:
            return _layer(layer.place, info)
        parent, _, name = path.rpartition(".")
        number = name.rpartition("_")[2]
        if parent == layer.experts_path and number.isdigit() and int(number) < layer.experts:
            return _layer(layer.place, info, int(number))
    return {"kind": "module", "module": path}
