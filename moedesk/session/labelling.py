"""Naming passes and tokens of a session: kept beside its capture by the worker, and undone again."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moedesk.core.event import Event
from moedesk.core.label import Label, names_of
from moedesk.core.label_set import LabelSet
from moedesk.core.store import Store
from moedesk.session.jobs import Jobs, Ticket
from moedesk.session.label_source import read_labels

UNDO = 50

Said = Callable[[str], None]
Change = Callable[[LabelSet, tuple[Label, ...]], LabelSet]


class Labelling:
    """What labels a session's capture gets. Each change is announced as ``labels``.

    Parameters
    ----------
    store : Store
    jobs : Jobs
    changed : Event of str
        The session's.
    """

    def __init__(self, store: Store, jobs: Jobs, changed: Event[str]) -> None:
        self._jobs, self._changed = jobs, changed
        # A capture or a recording that goes on; other stores can't be labelled.
        self._file: Any = getattr(store, "label_file", None)
        self._store: Any = store
        self._undo: list[LabelSet] = []
        self._asked = 0
        self.changes = 0
        """How often labels were given or taken away since the session began."""

    @property
    def possible(self) -> bool:
        """Whether this store can be labelled."""
        return self._file is not None

    @property
    def can_undo(self) -> bool:
        """Whether something was labelled here that can be taken back."""
        return bool(self._undo)

    def add(self, labels: Iterable[Label], say: Said) -> None:
        """Give labels; ``say`` takes what was done, or why not."""
        new = tuple(labels)
        named = ", ".join(names_of(new))
        self._change(lambda later, _: later.with_labels(new), f"Labelled {spans_text(new)} as {named}", say)

    def remove(self, name: str, say: Said) -> None:
        """Take a label away wherever it stands."""
        self._change(lambda later, recorded: later.without_name(name, recorded), f"Label {name} removed", say)

    def undo(self, say: Said) -> None:
        """Take back the last change."""
        if self._undo:
            before = self._undo.pop()
            self._change(lambda *_: before, "Labels as they were before", say, remember=False)

    def take_file(self, path: Path, say: Said) -> None:
        """Give the labels in a .json or .csv file."""
        store = self._store
        self._change(
            lambda later, _: later.with_labels(read_labels(path, store)), f"Labels taken from {path.name}", say
        )

    def names(self, done: Callable[[tuple[str, ...]], None]) -> None:
        """Give ``done`` the names that are in use."""
        store = self._store
        self._jobs.latest("labels.names", lambda _: names_of(store.labels), done)

    def _change(self, change: Change, text: str, say: Said, remember: bool = True) -> None:
        if self._file is None:
            say("Labels can't be kept here: there is no capture file")
            return
        store, file = self._store, self._file

        def work(_: Ticket) -> LabelSet:
            before: LabelSet = file.current
            file.save(change(before, store.recorded_labels))
            return before

        def done(before: LabelSet) -> None:
            if remember:
                self._undo = [*self._undo[1 - UNDO :], before]
            self.changes += 1
            say(text)
            self._changed.emit("labels")

        self._asked += 1  # a key of its own: a change is never overtaken by the next one
        self._jobs.latest(f"labels.{self._asked}", work, done, lambda error: say(f"Nothing labelled: {error}"))


def spans_text(labels: Iterable[Label]) -> str:
    """Return e.g. ``passes 3–7`` or ``token rows 0–99``."""
    parts = []
    for label in labels:
        what = ("token row" if label.stream else "pass", "token rows" if label.stream else "passes")
        single = label.last - label.first == 1
        parts.append(f"{what[0]} {label.first:,}" if single else f"{what[1]} {label.first:,}–{label.last - 1:,}")
    return ", ".join(parts)
