"""Overrides: what is changed about the routing of a running model, as data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from math import isfinite
from typing import Any, Self

from moedesk.core.columns import Phase
from moedesk.core.errors import MoedeskError
from moedesk.core.model import LayerInfo, ModelInfo


class OverrideKind(StrEnum):
    """What an override does.

    The first four change the routing on its way to the experts; the others act on the score, and the model's own selection makes
    ids and weights of it. ``replay`` is of the second sort without weights, and exact with them.
    """

    ABLATE = "ablate"
    SCALE = "scale"
    SWAP = "swap"
    CAPACITY = "capacity"
    EXCLUDE = "exclude"
    FORCE = "force"
    BIAS = "bias"
    TEMPERATURE = "temperature"
    TOP_K = "top_k"
    REPLAY = "replay"

    @property
    def names_experts(self) -> bool:
        """Whether it is about experts that it names."""
        return self in _OF_EXPERTS

    @property
    def by_token(self) -> bool:
        """Whether it can be limited to some tokens of a pass."""
        return self not in _WHOLE_PASS

    @property
    def by_phase(self) -> bool:
        """Whether it can be limited to passes of some phases."""
        return self is not OverrideKind.TOP_K

    @property
    def unit(self) -> str:
        """What ``Override.value`` is; empty if it has none."""
        return _UNITS.get(self, "")


_OF_EXPERTS = frozenset(
    {
        OverrideKind.ABLATE,
        OverrideKind.SCALE,
        OverrideKind.SWAP,
        OverrideKind.EXCLUDE,
        OverrideKind.FORCE,
        OverrideKind.BIAS,
    }
)
_UNITS = {
    OverrideKind.SCALE: "factor of the gate weight",
    OverrideKind.CAPACITY: "capacity factor",
    OverrideKind.BIAS: "added to the logit",
    OverrideKind.TEMPERATURE: "logits are divided by it",
    OverrideKind.TOP_K: "experts a token",
}
_CALLS = {OverrideKind.TOP_K: "set_k"}
_WHOLE_PASS = frozenset({OverrideKind.TOP_K, OverrideKind.CAPACITY})
_LONGEST_NAME = 100
_NOTED, _MARKED = "overridden: ", "; the rows it changed are marked (is:overridden)"


@dataclass(frozen=True)
class Override:
    """One change of a model's routing.

    Attributes
    ----------
    kind : OverrideKind
    layers : tuple of int
        Places in ``ModelInfo.layers``; empty for all.
    experts : tuple of int
        Those it is about; empty for kinds that are about none.
    value : float or None
        See ``OverrideKind.unit``.
    columns : (int, int) or None
        Only tokens in these slots of their sequence (past tokens + place in the pass), end excluded; None for all.
    phases : tuple of str
        Only passes of these phases, by ``Phase.label``; empty for all.
    capture : str
        Path of the capture whose routing is replayed.
    weights : bool
        Whether its weights are replayed too.
    name : str
        Given by the user; empty for none.
    """

    kind: OverrideKind
    layers: tuple[int, ...] = ()
    experts: tuple[int, ...] = ()
    value: float | None = None
    columns: tuple[int, int] | None = None
    phases: tuple[str, ...] = ()
    capture: str = ""
    weights: bool = False
    name: str = ""

    @property
    def title(self) -> str:
        """What it does, in one line without its name."""
        return " · ".join(part for part in (f"{self._deed} in {self._places}", *self._limits) if part)

    @property
    def _deed(self) -> str:
        experts = f"{'expert' if len(self.experts) == 1 else 'experts'} {listed(self.experts)}"
        value = "" if self.value is None else f"{self.value:g}"
        match self.kind:
            case OverrideKind.SCALE:
                return f"scale {experts} by {value}"
            case OverrideKind.SWAP:
                return f"swap {experts}"
            case OverrideKind.CAPACITY:
                return f"capacity factor {value}"
            case OverrideKind.BIAS:
                return f"bias {'+' if (self.value or 0) >= 0 else ''}{value} on {experts}"
            case OverrideKind.TEMPERATURE:
                return f"router temperature {value}"
            case OverrideKind.TOP_K:
                return f"k = {value}"
            case OverrideKind.REPLAY:
                return f"replay {'ids and weights' if self.weights else 'ids'} of {self.capture}"
        return f"{self.kind} {experts}"

    @property
    def _places(self) -> str:
        if not self.layers:
            return "all layers"
        return f"{'layer' if len(self.layers) == 1 else 'layers'} {listed(self.layers)}"

    @property
    def _limits(self) -> tuple[str, ...]:
        columns = "" if self.columns is None else f"columns {self.columns[0]}:{self.columns[1]}"
        return columns, ", ".join(self.phases)

    def acts_on(self, layer: int) -> bool:
        """Return whether it is about a layer, by place."""
        return not self.layers or layer in self.layers

    def check(self, model: ModelInfo) -> None:
        """Check that it makes sense for a model.

        Raises
        ------
        MoedeskError
            In one line: what doesn't fit, and what would.
        """
        self._check_shape()
        if not model.layers:
            raise MoedeskError("the model has no MoE layers to override")
        for place in self.layers:
            if not 0 <= place < len(model.layers):
                raise MoedeskError(
                    f"no MoE layer {place}; the model has {len(model.layers)}, 0 to {len(model.layers) - 1}"
                )
        for place in self.layers or range(len(model.layers)):
            self._check_layer(model.layers[place])

    def _check_shape(self) -> None:
        self._check_experts()
        self._check_value()
        self._check_columns()
        if self.phases and not self.kind.by_phase:
            raise MoedeskError("set_k acts on passes of every phase; leave phase= out")
        known = [phase.label for phase in Phase]
        for phase in self.phases:
            if phase not in known:
                raise MoedeskError(f"no phase {phase!r}; there are {', '.join(known)}")
        if bool(self.capture) != (self.kind is OverrideKind.REPLAY):
            raise MoedeskError("replay needs the path of a capture, and nothing else has one")
        if self.weights and self.kind is not OverrideKind.REPLAY:
            raise MoedeskError(f"only replay takes weights=, not {self.kind}")
        if len(self.name) > _LONGEST_NAME or not (self.name.isprintable() or not self.name):
            raise MoedeskError(f"the name of an override is one line of at most {_LONGEST_NAME} characters")

    def _check_experts(self) -> None:
        if bool(self.experts) != self.kind.names_experts:
            need = "needs at least one expert" if self.kind.names_experts else "names no experts"
            raise MoedeskError(f"{self.kind} {need}")
        if len(set(self.experts)) < len(self.experts):
            raise MoedeskError(f"{self.kind} names an expert twice: {listed(self.experts)}")
        if self.kind is OverrideKind.SWAP and len(self.experts) != 2:
            raise MoedeskError(f"swap takes two experts, not {len(self.experts)}")

    def _check_value(self) -> None:
        kind, value = self.kind, self.value
        if (value is not None) != bool(kind.unit):
            raise MoedeskError(f"{kind} needs a number: {kind.unit}" if kind.unit else f"{kind} takes no number")
        if value is None:
            return
        if not isfinite(value):
            raise MoedeskError(f"{kind} takes a finite number, not {value}")
        if kind in (OverrideKind.TEMPERATURE, OverrideKind.CAPACITY) and value <= 0:
            raise MoedeskError(f"{kind} is a number above 0, not {value:g}")
        if kind is OverrideKind.TOP_K and (value < 1 or value != int(value)):
            raise MoedeskError(f"k is a whole number from 1, not {value:g}")

    def _check_columns(self) -> None:
        if self.columns is None:
            return
        first, end = self.columns
        if not 0 <= first < end:
            raise MoedeskError(f"columns {first}:{end} hold no token; write first, end with the end excluded, from 0")
        if self.kind in _WHOLE_PASS:
            raise MoedeskError(f"{_CALLS.get(self.kind, self.kind)} acts on whole passes; leave columns= out")

    def _check_layer(self, layer: LayerInfo) -> None:
        where = f"layer {layer.place} ({layer.path})"
        for expert in self.experts:
            if not 0 <= expert < layer.experts:
                raise MoedeskError(f"no expert {expert} in {where}; it has {layer.experts}, 0 to {layer.experts - 1}")
        if self.kind is OverrideKind.TOP_K and self.value is not None and self.value > layer.experts:
            raise MoedeskError(f"k = {self.value:g} is more than the {layer.experts} experts of {where}")
        if self.kind is OverrideKind.FORCE and len(self.experts) > layer.top_k:
            raise MoedeskError(f"{len(self.experts)} experts can't be forced into the {layer.top_k} slots of {where}")
        if self.kind is OverrideKind.EXCLUDE and layer.experts - len(self.experts) < layer.top_k:
            left = layer.experts - len(self.experts)
            raise MoedeskError(
                f"{left} experts would be left for the {layer.top_k} slots of {where}; set a smaller k first"
            )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; what is at its default is left out."""
        values: dict[str, Any] = {"kind": str(self.kind)}
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if value != field.default:
                values[field.name] = list(value) if isinstance(value, tuple) else value
        return values

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Return what ``to_json`` made.

        Raises
        ------
        MoedeskError
            If it is anything else: an unknown field, or a value of another type.
        """
        if not isinstance(values, Mapping):
            raise MoedeskError('an override is an object such as {"kind": "ablate", "layers": [12], "experts": [37]}')
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise MoedeskError(f"an override has no {name!r}; it has {', '.join(known)}")
        kinds = [str(kind) for kind in OverrideKind]
        if values.get("kind") not in kinds:
            raise MoedeskError(f"no kind of override {values.get('kind')!r}; there are {', '.join(kinds)}")
        read: dict[str, Any] = {name: _READ[name](name, value) for name, value in values.items() if name != "kind"}
        return cls(OverrideKind(values["kind"]), **read)

    def as_call(self) -> str:
        """Return the line of the console that does it: ``moe.ablate(12, 37)``."""
        layers = "None" if not self.layers else _argument(self.layers)
        arguments = [repr(self.capture)] if self.kind is OverrideKind.REPLAY else [layers]
        if self.kind is OverrideKind.SWAP:
            arguments += map(str, self.experts)
        elif self.experts:
            arguments.append(_argument(self.experts))
        if self.value is not None:
            arguments.append(f"{self.value:.17g}" if self.value == int(self.value) else repr(self.value))
        if self.kind is OverrideKind.REPLAY:
            arguments += [f"layers={layers}"] * bool(self.layers) + ["weights=True"] * self.weights
        if self.columns is not None:
            arguments.append(f"columns={self.columns!r}")
        if self.phases:
            arguments.append(f"phase={self.phases[0]!r}" if len(self.phases) == 1 else f"phase={list(self.phases)!r}")
        if self.name:
            arguments.append(f"name={self.name!r}")
        return f"moe.{_CALLS.get(self.kind, self.kind)}({', '.join(arguments)})"


def noted_titles(notes: Iterable[str]) -> tuple[str, ...]:
    """Return the titles of overrides that a capture's notes name: captures from before ``Store.overrides`` did so."""
    return tuple(note.removeprefix(_NOTED).removesuffix(_MARKED) for note in notes if note.startswith(_NOTED))


def _argument(numbers: tuple[int, ...]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else str(list(numbers))


def listed(numbers: Iterable[int]) -> str:
    """Return numbers in a line, runs of three and more as ``3–7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts: list[str] = []
    for run in runs:
        parts += [f"{run[0]}–{run[-1]}"] if len(run) > 2 else map(str, run)
    return ", ".join(parts)


def _whole_numbers(name: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not all(type(number) is int for number in value):
        raise MoedeskError(f'"{name}" of an override is a list of whole numbers, not {_shortened(value)}')
    return tuple(value)


def _number(name: str, value: object) -> float | None:
    if value is not None and type(value) not in (int, float):
        raise MoedeskError(f'"{name}" of an override is a number, not {_shortened(value)}')
    return None if value is None else float(value)  # type: ignore[arg-type]


def _range(name: str, value: object) -> tuple[int, int] | None:
    numbers = () if value is None else _whole_numbers(name, value)
    if value is not None and len(numbers) != 2:
        raise MoedeskError(f'"{name}" of an override are two whole numbers, first and end, not {_shortened(value)}')
    return None if value is None else (numbers[0], numbers[1])


def _texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise MoedeskError(f'"{name}" of an override is a list of texts, not {_shortened(value)}')
    return tuple(value)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise MoedeskError(f'"{name}" of an override is a text, not {_shortened(value)}')
    return value


def _truth(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise MoedeskError(f'"{name}" of an override is true or false, not {_shortened(value)}')
    return value


_READ = {
    "layers": _whole_numbers,
    "experts": _whole_numbers,
    "value": _number,
    "columns": _range,
    "phases": _texts,
    "capture": _text,
    "weights": _truth,
    "name": _text,
}


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
