"""The list of overrides of one model: added, switched, changed, undone, kept in files; hooks only while something is on."""

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from moedesk.core import override_file
from moedesk.core.errors import MoedeskError
from moedesk.core.model import ModelInfo
from moedesk.core.override import Override, OverrideKind
from moedesk.core.override_code import as_python
from moedesk.core.override_file import Kept
from moedesk.probe.attach import attached
from moedesk.probe.exactness.untouched import when_untouched
from moedesk.probe.finding.binding import Binding
from moedesk.probe.hooks import hooks_on
from moedesk.probe.overriding.act import Act, Tally
from moedesk.probe.overriding.captured import Captured
from moedesk.probe.overriding.context import Context
from moedesk.probe.overriding.kinds import layer_override
from moedesk.probe.overriding.layer_override import LayerOverride
from moedesk.probe.overriding.layers import Layers
from moedesk.probe.overriding.stepping_back import SteppingBack

LONGEST_PAST = 200
"""Steps that can be undone."""


@dataclass(frozen=True)
class Entry:
    """One override in a list.

    Attributes
    ----------
    id : int
        Its number in the list, never used again.
    override : Override
    on : bool
    """

    id: int
    override: Override
    on: bool = True


@dataclass(frozen=True)
class _Step:
    """What a change of the list was, and the list before it (or, undone, after it)."""

    title: str
    entries: tuple[Entry, ...]


class Overrides:
    """The overrides of one model.

    With none on, nothing is on the model: it runs as it did before, bit for bit.

    Parameters
    ----------
    model : Module
    layers : Layers
        What is known of its layers, or finds it out.

    Attributes
    ----------
    attach_anew : function or None
        Called when the number of slots a token changes, to have what is attached begin anew; such changes are refused while
        anything else records the model.
    changed : list of function
        Called after every change of the list.
    """

    def __init__(self, model: nn.Module, layers: Layers) -> None:
        self._module = weakref.ref(model)
        self.layers = layers
        self.entries: tuple[Entry, ...] = ()
        self.attach_anew: Callable[[], None] | None = None
        self._notes: dict[str, None] = {}
        self._captured: dict[Override, Captured] = {}
        self.changed: list[Callable[[], None]] = []
        self._past: list[_Step] = []
        self._future: list[_Step] = []
        self._tallies: dict[int, Tally] = {}
        self._next = 1
        self._on: list[LayerOverride] = []
        self._context: Context | None = None
        self._lock = threading.RLock()
        self._suspended = 0
        self._compiled = SteppingBack(model)

    @property
    def model(self) -> nn.Module | None:
        """The model, or None if it is gone."""
        return self._module()

    @property
    def module(self) -> nn.Module:
        """The model."""
        model = self._module()
        if model is None:
            raise MoedeskError("the model of these overrides is gone")
        return model

    @property
    def info(self) -> ModelInfo:
        """The model as overrides name its layers."""
        return self.layers.info

    @property
    def undoable(self) -> str:
        """What ``undo`` would take back, empty for nothing."""
        return self._past[-1].title if self._past else ""

    @property
    def redoable(self) -> str:
        """What ``redo`` would do again, empty for nothing."""
        return self._future[-1].title if self._future else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What overrides could not do so far, a line each."""
        replays = (self._captured[e.override].note for e in self.acting if e.override in self._captured)
        return (*self._notes, *filter(None, replays), *self._compiled.notes)

    @property
    def acting(self) -> tuple[Entry, ...]:
        """The entries that are on."""
        return tuple(entry for entry in self.entries if entry.on)

    def __repr__(self) -> str:
        if not self.entries:
            return "no overrides; moe.ablate(12, 37) adds one, as do exclude, force, bias, scale, swap, set_k, temperature, …"
        width = max(len(entry.override.as_call()) for entry in self.entries)
        lines = [
            f"{entry.id:>3}  {'on ' if entry.on else 'off'}  {entry.override.as_call():<{width}}  "
            f"{self.acted(entry):,} rows changed"
            for entry in self.entries
        ]
        undo = [f"moe.undo() takes back: {self.undoable}"] if self.undoable else []
        return "\n".join([*lines, *undo, *self.notes])

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Have nothing act in the block; the list stays as it is.

        Where that changes the number of slots a token, what is attached takes none of the passes: its rows have others.
        """
        paused = [hooks for hooks in hooks_on(self.module) if hooks.recording] if self._widths(self.entries) else []
        with self._lock:
            self._suspended += 1
            when_untouched(self.module, self._renew)
        try:
            for hooks in paused:
                hooks.recording = False
            yield
        finally:
            for hooks in paused:
                hooks.recording = True
            with self._lock:
                self._suspended -= 1
                when_untouched(self.module, self._renew)

    def _renew(self) -> None:
        self._put_on(() if self._suspended else self.entries)

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """What counts the rows that each changes."""
        return tuple(self._tallies.values())

    def acted(self, entry: Entry) -> int:
        """Return how many rows an override changed so far; waits for the device."""
        tally = self._tallies.get(entry.id)
        return 0 if tally is None else tally.read()

    def entry(self, number: int) -> Entry:
        """Return an entry by its id.

        Raises
        ------
        MoedeskError
            If there is none.
        """
        for entry in self.entries:
            if entry.id == number:
                return entry
        raise MoedeskError(f"no override {number}; there are {', '.join(str(e.id) for e in self.entries) or 'none'}")

    def add(self, override: Override, on: bool = True) -> Entry:
        """Add an override, which acts from the next call of its layers on.

        Raises
        ------
        MoedeskError
            If it makes no sense for this model, or its layers can't be overridden so; nothing is then changed.
        """
        with self._lock:
            self.layers.check(override)
            entry = Entry(self._next, override, on)
            self._set((*self.entries, entry), f"add: {override.title}")
            self._next += 1
            return entry

    def change(self, number: int, override: Override) -> None:
        """Put another override in the place of one."""
        with self._lock:
            self.entry(number)
            self.layers.check(override)
            self._tallies.pop(number, None)
            new = tuple(replace(e, override=override) if e.id == number else e for e in self.entries)
            self._set(new, f"change: {override.title}")

    def switch(self, number: int, on: bool) -> None:
        """Switch an override on or off."""
        with self._lock:
            entry = self.entry(number)
            new = tuple(replace(e, on=on) if e.id == number else e for e in self.entries)
            self._set(new, f"switch {'on' if on else 'off'}: {entry.override.title}")

    def remove(self, number: int) -> None:
        """Take an override out of the list."""
        with self._lock:
            entry = self.entry(number)
            self._set(tuple(e for e in self.entries if e.id != number), f"remove: {entry.override.title}")

    def clear(self) -> None:
        """Remove all; can be undone."""
        with self._lock:
            if self.entries:
                self._set((), f"remove all {len(self.entries)}")

    def undo(self) -> str:
        """Take the last change of the list back; return what it was."""
        return self._step(self._past, self._future, "nothing to undo")

    def redo(self) -> str:
        """Do again what was undone last; return what it is."""
        return self._step(self._future, self._past, "nothing to redo")

    def save(self, path: str | Path) -> None:
        """Write the list to a JSON file."""
        override_file.save(Path(path), [Kept(entry.override, entry.on) for entry in self.entries], self.info.name)

    def load(self, path: str | Path) -> None:
        """Add the overrides of a file to the list; all or none."""
        self.add_all(override_file.load(Path(path)), str(path))

    def add_all(self, kept: Sequence[Kept], origin: str) -> None:
        """Add overrides to the list, all or none, in one step; ``origin`` is the file that they come from."""
        with self._lock:
            for number, one in enumerate(kept, 1):
                try:
                    self.layers.check(one.override)
                except MoedeskError as error:
                    raise MoedeskError(f"{origin}: override {number}: {error}") from None
            new = [Entry(self._next + place, one.override, one.on) for place, one in enumerate(kept)]
            self._set((*self.entries, *new), f"load {Path(origin).name}")
            self._next += len(new)

    def as_python(self) -> str:
        """Return Python that does what is on, without moedesk; what plain code can't do is a comment in it."""
        return as_python([entry.override for entry in self.acting], self.info)

    def close(self) -> None:
        """Take everything off the model and forget the list."""
        with self._lock:
            self.entries, self._past, self._future = (), [], []
            self._notes.clear()
            model = self._module()
            if model is not None:
                when_untouched(model, self._renew)

    def told(self) -> dict[str, Any]:
        """Return the list as it is told to apps."""
        return {
            "entries": [
                {"id": entry.id, "on": entry.on, "acted": self.acted(entry), "override": entry.override.to_json()}
                for entry in self.entries
            ],
            "undo": self.undoable,
            "redo": self.redoable,
            "note": " · ".join(self.notes),
        }

    def _step(self, steps: list[_Step], others: list[_Step], nothing: str) -> str:
        with self._lock:
            if not steps:
                raise MoedeskError(nothing)
            step = steps[-1]
            before = self.entries
            self._apply(step.entries)
            steps.pop()
            others.append(_Step(step.title, before))
            self._say()
            return step.title

    def _set(self, entries: tuple[Entry, ...], title: str) -> None:
        before = self.entries
        self._apply(entries)
        self._past = [*self._past[-LONGEST_PAST:], _Step(title, before)]
        self._future.clear()
        self._say()

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        """Let these act, or, if that fails, those before."""
        before = self.entries
        for entry in entries:
            self._prepare(entry)
        widths = self._widths(entries) != self._widths(before)
        if widths:
            self._check_recordings()
        self.entries = entries
        try:
            when_untouched(self.module, self._renew)
        except BaseException:
            self.entries = before
            self._renew()
            raise
        if widths and self.attach_anew is not None:
            self.attach_anew()

    def _prepare(self, entry: Entry) -> None:
        """Read the capture that an entry replays, before it acts."""
        override = entry.override
        if entry.on and override.kind is OverrideKind.REPLAY and override not in self._captured:
            places = [binding.layer.place for binding in self.layers.bindings if override.acts_on(binding.layer.place)]
            self._captured[override] = Captured(override.capture, self.info, places)

    def _widths(self, entries: Sequence[Entry]) -> list[tuple[tuple[int, ...], float | None]]:
        """What sets numbers of slots."""
        return [
            (e.override.layers, e.override.value) for e in entries if e.on and e.override.kind is OverrideKind.TOP_K
        ]

    def _check_recordings(self) -> None:
        """Rows of another k don't fit into what is recorded now."""
        ours = (
            {id(one.hooks) for one in attached() if one.module is self.module} if self.attach_anew is not None else ()
        )
        if any(id(hooks) not in ours for hooks in hooks_on(self.module)):
            raise MoedeskError(
                "k can't change while the model is recorded or attached: a capture's rows have k slots; end it first"
            )

    def _say(self) -> None:
        for function in tuple(self.changed):
            function()

    def _put_on(self, entries: Sequence[Entry]) -> None:
        """Take off what acts, and put these on."""
        acted = bool(self._on)
        for one in self._on:
            one.take_off()
        self._on = []
        if self._context is not None:
            self._context.remove()
            self._context = None
        acting = [entry for entry in entries if entry.on]
        self._compiled.step(bool(acting), acted)
        if not acting:
            return
        bindings = self.layers.bindings
        if any(_needs_context(entry.override) for entry in acting):
            asking = [
                b
                for b in bindings
                if any(_needs_context(e.override) and e.override.acts_on(b.layer.place) for e in acting)
            ]
            phased = any(entry.override.phases for entry in acting)
            self._context = Context(self.module, bindings, asking, phased)
        try:
            for binding in bindings:
                place = binding.layer.place
                acts = [self._act(entry, binding) for entry in acting if entry.override.acts_on(place)]
                if acts:
                    layer = layer_override(self.layers, binding, acts)
                    self._on.append(layer)
                    layer.put_on()
        except BaseException:
            self._put_on(())
            raise

    def _act(self, entry: Entry, binding: Binding) -> Act:
        tally = self._tallies.setdefault(entry.id, Tally())
        captured = self._captured.get(entry.override)
        act = Act(entry.override, binding, self._context, tally, self._notes, captured)
        if self._context is not None and _needs_context(entry.override):
            self._context.register(act)
        return act


def _needs_context(override: Override) -> bool:
    return bool(override.columns or override.phases) or override.kind is OverrideKind.REPLAY
