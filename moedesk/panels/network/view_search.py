"""Runs the filter in the worker and says how far it has come."""

from PySide6.QtCore import QObject, Signal

from moedesk.core.model import ModelInfo
from moedesk.panels.network.model_search import Found, common_texts, find
from moedesk.session.jobs import Ticket
from moedesk.session.session import Session
from moedesk.ui.filter_bar import FilterBar
from moedesk.ui.paced_question import PacedQuestion

TEXT_ROWS = 20_000
"""Token rows, the first ones, whose texts the filter line completes."""


class Search(QObject):
    """Keeps what matches the session's filter.

    Signals
    -------
    found
        ``result`` is another one.
    """

    found = Signal()

    def __init__(self, session: Session, bar: FilterBar, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._bar = bar
        self._asked: tuple[str, int] | None = None
        self._model: ModelInfo | None = None
        self._texts_of = -1  # token rows that the completion's texts were taken from
        self._search = PacedQuestion(session, "network.search", self, rest=0.05)
        self._total, self._texts = (
            PacedQuestion(session, f"network.{name}", self, rest=0.15) for name in ("total", "texts")
        )
        self.result: Found | None = None

    def refresh(self, changed: frozenset[str]) -> None:
        """Search again if the filter or the data changed; of a store that grows, what has come since."""
        session = self._session
        if session.store.model is not self._model:
            self._model = session.store.model
            self._bar.set_model(self._model)
        self._bar.set_filter(session.filter)
        if "store" in changed:
            self._ask_texts()
        if "labels" in changed or ("store" in changed and session.live is None):
            session.labelling.names(self._bar.set_label_names)
        if "labels" in changed and session.filter.names_labels:
            self._asked = self.result = None
            changed |= {"filter"}
        if not changed & {"store", "filter"}:
            return
        if not session.filter:
            self._search.cancel()
            self._asked = None
            self._say_total()
            if self.result is not None:
                self.result = None
                self.found.emit()
        else:
            self._find()

    def _find(self) -> None:
        store, chosen = self._session.store, self._session.filter
        asked = (chosen.to_text(), store.revision)
        if asked == self._asked:
            return
        same = self._asked is not None and self._asked[0] == asked[0]
        self._asked = asked
        grows = same and self.result is not None and self.result.filter == chosen
        self._search.ask(
            lambda ticket: find(store, chosen, ticket, self.result),
            self._show,
            self._fail,
            None if grows else self._bar.set_progress,
            urgent=not same,
        )

    def _ask_texts(self) -> None:
        """Ask for the texts to complete, until the tokens they are taken from are all there."""
        store, known = self._session.store, self._texts_of
        if known >= TEXT_ROWS:
            return

        def work(_: Ticket) -> tuple[int, list[str] | None]:
            rows = min(store.n_tokens(), TEXT_ROWS) if store.model.layers else 0
            return rows, None if rows < 2 * known and rows < TEXT_ROWS else common_texts(store, rows)

        self._texts.ask(work, self._set_texts, self._fail)

    def _say_total(self) -> None:
        store = self._session.store

        def work(_: Ticket) -> str:
            passes, model = store.n_passes, store.model
            rows = sum(store.token_span(0, passes, stream)[1] for stream in model.streams)
            return f"{passes:,} pass{'es' * (passes != 1)} · {rows:,} token rows · {len(model.layers)} layers"

        self._total.ask(work, self._say, self._fail)

    def _say(self, total: str) -> None:
        if not self._session.filter:
            self._bar.set_total(total)

    def _set_texts(self, answer: tuple[int, list[str] | None]) -> None:
        rows, texts = answer
        if texts is not None:
            self._texts_of = rows
            self._bar.set_token_texts(texts)

    def _show(self, found: Found) -> None:
        if found.filter != self._session.filter:
            return
        self._bar.set_matches(len(found.passes), found.searched, found.total, found.out_of, found.note)
        if found is not self.result:
            self.result = found
            self.found.emit()

    def _fail(self, error: Exception) -> None:
        self._asked = None
        self._bar.set_total(f"The capture could not be read: {error}")
