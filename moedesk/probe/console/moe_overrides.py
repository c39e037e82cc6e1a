"""``moe.ablate``, ``moe.exclude`` and the like: overrides of the attached, the loaded or a given model's routing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind

if TYPE_CHECKING:
    from torch import nn

    from moedesk.core.before_after import BeforeAfter
    from moedesk.probe.overriding.overrides import Entry, Overrides

LayerNames = int | str | Iterable[int | str] | None
"""A layer by its place or path, several of them, or None for all."""
Experts = int | Iterable[int]


class Limits(TypedDict, total=False):
    """What limits an override, and what it is called."""

    columns: tuple[int, int] | None
    phase: str | Sequence[str]
    name: str
    model: "nn.Module | None"


class OverrideHandle:
    """An override that acts; leave a ``with`` block, or call ``undo``, and it doesn't any more."""

    def __init__(self, overrides: "Overrides", entry: "Entry") -> None:
        self._overrides, self._number = overrides, entry.id
        self.override = entry.override

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()

    @property
    def acted(self) -> int:
        """Rows of tokens, over all layers, whose routing it changed so far."""
        for entry in self._overrides.entries:
            if entry.id == self._number:
                return self._overrides.acted(entry)
        return 0

    def undo(self) -> None:
        """Remove it, wherever it is in the list; a second time does nothing."""
        if any(entry.id == self._number for entry in self._overrides.entries):
            self._overrides.remove(self._number)

    def __repr__(self) -> str:
        return f"{self.override.title}; moe.undo() takes it back"


class OverrideCalls:
    """The calls that override; ``Moe`` has them.

    Layers are places, paths, lists of these, or None for all. ``columns=(first, end)`` limits an override to these slots of a
    sequence, ``phase="decode"`` to passes of a phase (or several), ``name=`` says what it is for, ``model=`` is another model
    than the attached or loaded one. What they return is a context manager; used without ``with``, it acts until ``moe.undo()``.
    """

    if TYPE_CHECKING:

        @property
        def tokenizer(self) -> Any:
            """Of the model, or None."""

    def _overrides_of(self, model: "nn.Module | None") -> "Overrides":
        raise NotImplementedError

    def ablate(self, layers: LayerNames, experts: Experts, **limits: Unpack[Limits]) -> OverrideHandle:
        """Give experts the gate weight 0 wherever they are chosen; the other weights stay as they are.

        Examples
        --------
        >>> with moe.ablate(12, 37):
        ...     moe.run("def add(a, b):")
        """
        return self._override(OverrideKind.ABLATE, layers, _numbers(experts), None, limits)

    def scale(self, layers: LayerNames, experts: Experts, factor: float, **limits: Unpack[Limits]) -> OverrideHandle:
        """Multiply the gate weight of experts wherever they are chosen."""
        return self._override(OverrideKind.SCALE, layers, _numbers(experts), factor, limits)

    def swap(self, layers: LayerNames, one: int, other: int, **limits: Unpack[Limits]) -> OverrideHandle:
        """Send what was for one expert to the other, and the other way round, with the same weights."""
        return self._override(OverrideKind.SWAP, layers, (one, other), None, limits)

    def capacity(self, layers: LayerNames, factor: float, **limits: Unpack[Limits]) -> OverrideHandle:
        """Let every expert keep the first ceil(factor · N · k / E) slots of a pass, in token order, and drop the others."""
        return self._override(OverrideKind.CAPACITY, layers, (), factor, limits)

    def exclude(self, layers: LayerNames, experts: Experts, **limits: Unpack[Limits]) -> OverrideHandle:
        """Choose as if experts were not there; the model's own selection picks others and normalises as it does."""
        return self._override(OverrideKind.EXCLUDE, layers, _numbers(experts), None, limits)

    def force(self, layers: LayerNames, experts: Experts, **limits: Unpack[Limits]) -> OverrideHandle:
        """Have experts chosen, with the weights that the model's own selection gives them; the best others fill the rest."""
        return self._override(OverrideKind.FORCE, layers, _numbers(experts), None, limits)

    def bias(self, layers: LayerNames, experts: Experts, value: float, **limits: Unpack[Limits]) -> OverrideHandle:
        """Add a number to the logits of experts, before the model's own selection."""
        return self._override(OverrideKind.BIAS, layers, _numbers(experts), value, limits)

    def temperature(self, layers: LayerNames, value: float, **limits: Unpack[Limits]) -> OverrideHandle:
        """Divide the router's logits by a number: above 1 evens the weights out, below 1 sharpens them."""
        return self._override(OverrideKind.TEMPERATURE, layers, (), value, limits)

    def set_k(self, layers: LayerNames, k: int, **limits: Unpack[Limits]) -> OverrideHandle:
        """Have the model choose k experts a token, by its own selection.

        A capture's rows have k slots: what is attached begins anew, and a running recording has to be ended first.
        """
        return self._override(OverrideKind.TOP_K, layers, (), k, limits)

    def replay(
        self,
        capture: str | PathLike[str],
        *,
        layers: LayerNames = None,
        weights: bool = False,
        **limits: Unpack[Limits],
    ) -> OverrideHandle:
        """Give passes the routing that they have in a capture, found by their tokens.

        Ids alone go through the model's own selection, which weighs them; with ``weights=True``, both are the capture's. Passes
        that the capture doesn't have run untouched, and are counted.

        Examples
        --------
        >>> with moe.replay("run.h5", weights=True):
        ...     moe.run("def add(a, b):")
        """
        more = {"capture": str(capture), "weights": bool(weights)}
        return self._override(OverrideKind.REPLAY, layers, (), None, limits, **more)

    @property
    def overrides(self) -> "Overrides":
        """The list of overrides of the model: ``entries``, ``switch``, ``remove``, ``clear``, ``save``, ``load``."""
        return self._overrides_of(None)

    def undo(self) -> None:
        """Take the last change of the list of overrides back."""
        print(f"undone: {self.overrides.undo()}")

    def redo(self) -> None:
        """Do again what ``moe.undo()`` took back."""
        print(f"done again: {self.overrides.redo()}")

    def before_after(self, text: str, max_new_tokens: int = 32, record: bool = False, **options: Any) -> "BeforeAfter":
        """Run a text without the overrides that are on, and with them: texts, log-probabilities, loss and load side by side.

        Parameters
        ----------
        text : str
        max_new_tokens : int
        record : bool
            Whether the passes of both runs are recorded like any others, labelled *without overrides* and *with overrides*.
        **options
            ``seed``, and more arguments of ``model.generate``; the best token is taken each time without.

        Examples
        --------
        >>> moe.ablate(3, 7)
        >>> moe.before_after("def add(a, b):")
        """
        from moedesk.probe.overriding.before_after import before_after

        if self.tokenizer is None:
            raise MoedeskError("moe.before_after needs a tokenizer: moe.attach(model, tokenizer)")
        return before_after(self.overrides, self.tokenizer, text, max_new_tokens, record=record, **options)

    def do_before_after(self, value: Mapping[str, Any], progress: Callable[[float, str], None]) -> Any:
        """Do the task ``before_after`` of an app."""
        number, record = value.get("max_new_tokens", 32), value.get("record", False)
        if not isinstance(value.get("text"), str) or type(number) is not int or type(record) is not bool:
            raise MoedeskError("before_after takes a text, max_new_tokens, and whether to record")
        return self.before_after(value["text"], number, record, progress=progress).to_parts()

    def _override(
        self,
        kind: OverrideKind,
        layers: LayerNames,
        experts: tuple[int, ...],
        value: float | None,
        limits: Mapping[str, Any],
        **more: Any,
    ) -> OverrideHandle:
        overrides = self._overrides_of(limits.get("model"))
        override = make_override(overrides, kind, layers, experts, value, limits, **more)
        return OverrideHandle(overrides, overrides.add(override))


def make_override(
    overrides: "Overrides",
    kind: OverrideKind,
    layers: LayerNames,
    experts: tuple[int, ...],
    value: float | None,
    limits: Mapping[str, Any],
    **more: Any,
) -> Override:
    """Return the override that a call means."""
    unknown = set(limits) - set(Limits.__annotations__)
    if unknown:
        raise MoedeskError(f"no {min(unknown)}=; an override takes columns=, phase=, name= and model=")
    phase = limits.get("phase", ())
    columns = limits.get("columns")
    if columns is not None and (len(tuple(columns)) != 2 or not all(isinstance(n, int) for n in columns)):
        raise MoedeskError(f"columns= are two whole numbers, (first, end), not {columns!r}")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise MoedeskError(f"{kind} takes a number, not {value!r}")
    return Override(
        kind,
        _places(overrides, layers),
        experts,
        None if value is None else float(value),
        None if columns is None else (int(columns[0]), int(columns[1])),
        (phase,) if isinstance(phase, str) else tuple(phase),
        name=limits.get("name", ""),
        **more,
    )


def _numbers(experts: Experts) -> tuple[int, ...]:
    listed = (experts,) if isinstance(experts, int) else tuple(experts)
    for number in listed:
        if isinstance(number, bool) or not hasattr(number, "__index__"):
            raise MoedeskError(f"an expert is a number, not {number!r}")
    return tuple(int(number) for number in listed)


def _places(overrides: "Overrides", layers: LayerNames) -> tuple[int, ...]:
    """Places of layers; a negative one counts from the end."""
    if layers is None:
        return ()
    listed = [layers] if isinstance(layers, int | str) else list(layers)
    if not listed:
        raise MoedeskError("no layer is named; None stands for all")
    return tuple(overrides.info.layer(layer).place for layer in listed)
