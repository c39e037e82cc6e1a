"""Runs the filter in the worker and says how far it has come."""

from collections.abc import Sequence

from PySide6.QtCore import QObject, Signal

from moedesk.panels.network.model_search import Found, common_texts, find
from moedesk.session.session import Session
from moedesk.ui.filter_bar import FilterBar


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
        self.result: Found | None = None
        bar.set_model(session.store.model)

    def refresh(self, changed: frozenset[str]) -> None:
        """Search again if the filter or the data changed."""
        session = self._session
        self._bar.set_filter(session.filter)
        if "store" in changed:
            store = session.store
            session.jobs.latest("network.texts", lambda _: common_texts(store), self._set_texts, self._fail)
        if not changed & {"store", "filter"}:
            return
        asked = (session.filter.to_text(), session.store.revision)
        if not session.filter:
            session.jobs.cancel("network.search")
            self._asked = None
            self._say_total()
            if self.result is not None:
                self.result = None
                self.found.emit()
        elif asked != self._asked:
            self._asked = asked
            store, chosen = session.store, session.filter
            session.jobs.latest(
                "network.search",
                lambda ticket: find(store, chosen, ticket),
                self._show,
                self._fail,
                self._bar.set_progress,
            )

    def _say_total(self) -> None:
        store = self._session.store
        layers = len(store.model.layers)
        self._session.jobs.latest(
            "network.total",
            lambda _: sum(store.n_tokens(stream) for stream in store.model.streams),
            lambda rows: self._say(f"{store.n_passes:,} passes · {rows:,} token rows · {layers} layers"),
            self._fail,
        )

    def _say(self, total: str) -> None:
        if not self._session.filter:
            self._bar.set_total(total)

    def _set_texts(self, texts: Sequence[str]) -> None:
        self._bar.set_token_texts(texts)

    def _show(self, found: Found) -> None:
        self.result = found
        self._bar.set_matches(len(found.passes), self._session.store.n_passes, found.total, found.out_of, found.note)
        self.found.emit()

    def _fail(self, error: Exception) -> None:
        self._asked = None
        self._bar.set_total(f"The capture could not be read: {error}")
