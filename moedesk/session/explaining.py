"""Why and what if: asks a session's model for explanations, and finds those that there are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moedesk.core.attribution import Attribution, Counterfactual, Explanation, TokenPlace, Why
from moedesk.core.attribution_json import put_together
from moedesk.core.errors import MoedeskError
from moedesk.core.event import Event
from moedesk.core.store import Store
from moedesk.session.asked_token import asked_token
from moedesk.session.conversation import Outcome
from moedesk.session.explanations import Explanations
from moedesk.session.jobs import Jobs
from moedesk.session.live import Live

TASKS: Mapping[type[Explanation], str] = {Why: "why", Attribution: "attribute", Counterfactual: "counterfactual"}
NO_MODEL = (
    "This needs the model: attach it in the console (moe.attach()) and run it; a file has its stored explanations only."
)
UNREADABLE = "what the kernel answered can't be shown: {}"


@dataclass(frozen=True)
class Asking:
    """A question under way.

    Attributes
    ----------
    kind : type
    row : int
        The token.
    stream : str or None
    share : float
        How much is done, 0 to 1.
    text : str
        What is done now.
    began : bool
        Whether the model's process has begun; before that a cell may run, whose end is waited for.
    """

    kind: type[Explanation]
    row: int
    stream: str | None
    share: float = 0.0
    text: str = ""
    began: bool = False


class Explaining:
    """Asks for explanations, one at a time, and has them kept. For the GUI thread; changes are announced as ``explaining``.

    Parameters
    ----------
    store : Store
    jobs : Jobs
    explanations : Explanations
        Keeps them.
    live : callable
        Gives the session's live side, or None.
    changed : Event of str
        The session's.

    Attributes
    ----------
    asking : Asking or None
    problem : str
        Why the last question gave nothing, in one line; empty if it did.
    """

    def __init__(
        self,
        store: Store,
        jobs: Jobs,
        explanations: Explanations,
        live: Callable[[], Live | None],
        changed: Event[str],
    ) -> None:
        self._store, self._jobs, self._explanations, self._live, self._changed = (
            store,
            jobs,
            explanations,
            live,
            changed,
        )
        self._kept: tuple[Explanation, ...] | None = None
        self._new: tuple[Explanation, ...] = ()
        self.asking: Asking | None = None
        self.problem = ""
        self._cancel: Callable[[], None] = lambda: None

    @property
    def all(self) -> tuple[Explanation, ...]:
        """Every explanation that there is, the newest last; those of a capture once ``load`` has read them."""
        return (*(self._kept or ()), *self._new)

    def load(self) -> None:
        """Have those read that are kept with the capture; again only when there are more."""
        if self._kept is None:
            self._kept = ()
            self._changed.connect(lambda name: self._read() if name == "attributions" else None)
            self._read()

    def _read(self) -> None:
        self._explanations.all(self._take_kept)

    def _take_kept(self, kept: tuple[Explanation, ...]) -> None:
        places = {id(each) for each in kept}
        self._kept, self._new = kept, tuple(each for each in self._new if id(each) not in places)
        self._changed.emit("explaining")

    @property
    def why_not(self) -> str:
        """Why no new ones can be asked for, in one line; empty if they can."""
        live = self._live()
        return NO_MODEL if live is None else live.ended or NO_MODEL if not live.attached else ""

    def find(
        self, kind: type[Explanation], row: int, stream: str | None = None, layer: int | None = None
    ) -> Explanation | None:
        """Return the newest explanation of a kind of a token, and of a layer if one is given."""
        main = next(iter(self._store.model.streams), "main")
        for each in reversed(self.all):
            same = isinstance(each, kind) and each.token.row == row and (each.token.stream or main) == (stream or main)
            if same and (layer is None or getattr(each, "layer", None) == layer):
                return each
        return None

    def ask(
        self, kind: type[Explanation], row: int, stream: str | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        """Ask the model for an explanation of a token; a question under way is cancelled.

        Parameters
        ----------
        options : mapping, optional
            What the task's value has besides ``passage``.
        """
        self.cancel()
        self.problem = self.why_not
        if not self.problem:
            self.asking = Asking(kind, row, stream)
            store = self._store
            self._jobs.latest(
                "explaining",
                lambda _: asked_token(store, row, stream),
                lambda passage: self._send(passage, dict(options or {})),
                self._fail,
            )
        self._changed.emit("explaining")

    def cancel(self) -> None:
        """Ask no more."""
        if self.asking is not None:
            self.asking = None
            self._jobs.cancel("explaining")
            self._cancel()
            self._cancel = lambda: None
            self._changed.emit("explaining")

    def take(self, value: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Keep an explanation that was asked for in the console, as ``attribution_json.taken_apart`` made it."""
        try:
            self._add(put_together(value, arrays))
        except MoedeskError as error:
            self.problem = UNREADABLE.format(error)
        self._changed.emit("explaining")

    def _send(self, passage: dict[str, Any], options: Mapping[str, Any]) -> None:
        asking, live = self.asking, self._live()
        if asking is None or live is None:
            return
        value = {"passage": passage, **options}
        self._cancel = live.ask(TASKS[asking.kind], value, lambda outcome: self._take(passage, outcome), self._progress)

    def _progress(self, share: float, text: str) -> None:
        if self.asking is not None:
            self.asking = replace(self.asking, share=share, text=text, began=True)
            self._changed.emit("explaining")

    def _take(self, passage: Mapping[str, Any], outcome: Outcome) -> None:
        self.asking = None
        self.problem = "" if outcome.ok else outcome.text
        if outcome.ok:
            try:
                made = put_together(outcome.value, outcome.arrays)
            except MoedeskError as error:
                self.problem = UNREADABLE.format(error)
            else:
                self._add(replace(made, token=_placed(made.token, passage)))
        self._changed.emit("explaining")

    def _add(self, explanation: Explanation) -> None:
        self._new = (*self._new, explanation)
        if self._explanations.possible:
            self._explanations.add(explanation, self._say)

    def _say(self, line: str) -> None:
        self.problem = line
        self._changed.emit("explaining")

    def _fail(self, error: Exception) -> None:
        self.asking = None
        self.problem = str(error) if isinstance(error, MoedeskError) else f"the token could not be read: {error}"
        self._changed.emit("explaining")


def _placed(token: TokenPlace, passage: Mapping[str, Any]) -> TokenPlace:
    """Where a token lies in the capture that it was asked about from."""
    names = ("row", "pass_id", "sequence", "position", "column", "stream")
    known = {name: passage[name] for name in names}
    return replace(token, **known, text=token.text or passage["text"])
