"""The status bar: what is open, in numbers; its state; how it is drawn."""

from PySide6.QtWidgets import QLabel, QStatusBar

from moedesk.core.store import Store
from moedesk.session.session import Session

SAY_FOR = 6000  # milliseconds


def numbers(store: Store, tokens: int) -> str:
    """Return passes, tokens and layers of a store as one line."""
    layers = store.model.layers
    experts = sorted({layer.experts for layer in layers})
    top_k = sorted({layer.top_k for layer in layers})
    shape = f" × {_range(experts)} experts, top-{_range(top_k)}" if layers else ""
    return f"{store.n_passes:,} passes · {tokens:,} token rows · {len(layers)} MoE layers{shape}"


def _range(values: list[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]}–{values[-1]}"


class StatusBar(QStatusBar):
    """Passes, tokens, layers, the file's state, its notes and the renderer."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizeGripEnabled(False)
        self._numbers, self._state, self._renderer = QLabel(), QLabel(), QLabel()
        self._session: Session | None = None
        self.addWidget(self._numbers)
        self.addPermanentWidget(self._state)
        self.addPermanentWidget(self._renderer)

    def show_session(self, session: Session | None) -> None:
        """Show a session's numbers; the tokens are counted in its worker."""
        self._session = session
        self._numbers.setText("")
        self._state.setText("")
        self._state.setToolTip("")
        if session is None:
            return
        store = session.store
        notes = store.notes
        state = "complete" if store.complete else "incomplete"
        if notes:
            state += f": {notes[0]}" if not store.complete else ""
            extra = len(notes) - (0 if store.complete else 1)
            state += f" · {extra} note{'s' if extra > 1 else ''}" if extra else ""
        self._state.setText(state if store.complete else f"⚠ {state}")
        self._state.setToolTip("\n".join(notes) or "The recording was closed properly; nothing is missing.")
        session.jobs.latest(
            "status",
            lambda _: sum(store.n_tokens(stream) for stream in store.model.streams),
            lambda tokens: self._show_numbers(session, tokens),
        )

    def show_renderer(self, text: str, detail: str) -> None:
        """Say how plots are drawn."""
        self._renderer.setText(text)
        self._renderer.setToolTip(detail)

    def say(self, text: str) -> None:
        """Show a line for a while."""
        self.showMessage(text, SAY_FOR)

    def _show_numbers(self, session: Session, tokens: int) -> None:
        if session is self._session:
            self._numbers.setText(numbers(session.store, tokens))
