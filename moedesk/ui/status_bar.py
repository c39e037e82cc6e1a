"""The status bar: what is open, in numbers; its state; how it is drawn."""

import time

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QLabel, QStatusBar, QToolButton

from moedesk.core.store import Store
from moedesk.core.verification import Verdict
from moedesk.core.verification_text import as_text, short_verdict
from moedesk.session.overriding import TOPIC as OVERRIDES
from moedesk.session.overriding import say_all
from moedesk.session.session import RELABELS, Session
from moedesk.ui.elided_label import ShrinkingLabel
from moedesk.ui.live_bar import left_out, why_left_out
from moedesk.ui.live_numbers import Rate, overhead_text, rate_text, recording_text
from moedesk.ui.theme import LIGHT, Theme
from moedesk.ui.ticker import Ticker

SAY_FOR = 6000  # milliseconds
PERIOD = 250  # milliseconds: numbers that change faster can't be read
OVERHEAD_HINT = (
    "Time the model's thread spent in moedesk's hooks ÷ time of the passes, hooks included;\n"
    "and the same time ÷ passes ÷ MoE layers. The first pass counts too, in which the layers are found"
)


def numbers(store: Store, tokens: int) -> str:
    """Return passes, tokens and layers of a store as one line."""
    layers = store.model.layers
    experts = sorted({layer.experts for layer in layers})
    top_k = sorted({layer.top_k for layer in layers})
    shape = f" × {_range(experts)} experts, top-{_range(top_k)}" if layers else ""
    return f"{store.n_passes:,} pass{'es' * (store.n_passes != 1)} · {tokens:,} token rows · {len(layers)} MoE layers{shape}"


def _range(values: list[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]}–{values[-1]}"


class StatusBar(QStatusBar):
    """Passes, tokens, layers, the file's state, its notes and the renderer; of a running model its rates, costs and overrides.

    Signals
    -------
    overrides_asked
        The user wants to see what is overridden.
    """

    overrides_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setSizeGripEnabled(False)
        self._theme: Theme = LIGHT
        self._numbers, self._left_out, self._overhead, self._frames, self._state, self._renderer = (
            ShrinkingLabel() for _ in range(6)
        )
        self._tested = ShrinkingLabel()
        self.overrides = QToolButton()
        self.overrides.setAutoRaise(True)
        self.overrides.clicked.connect(self.overrides_asked)
        self._noted = ""  # what was wrong with the last override, as it was said
        self._session: Session | None = None
        self._disconnect = lambda: None
        self._rate, self._ticks, self._ticked = Rate(), Rate(), 0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PERIOD)
        self._timer.timeout.connect(self._show_live)
        self.addWidget(self._numbers)
        self.addPermanentWidget(self.overrides)
        for label in (self._left_out, self._overhead, self._frames, self._tested, self._state, self._renderer):
            self.addPermanentWidget(label)
        self._overhead.setToolTip(OVERHEAD_HINT)
        self._frames.setToolTip("How often the window was drawn anew for new passes; 30 a second at most")
        self._hide_live()
        self._show_overrides()

    def watch(self, ticker: Ticker) -> None:
        """Count the ticks of the window, to say how many frames it shows a second."""

        def ticked() -> bool:
            self._ticked += 1
            return False

        ticker.add(ticked)

    def show_session(self, session: Session | None) -> None:
        """Show a session's numbers; the tokens are counted in its worker."""
        self._disconnect()
        self._disconnect = lambda: None
        self._timer.stop()
        self._session = session
        self._numbers.setText("")
        self._state.setText("")
        self._state.setToolTip("")
        self._show_tested()
        self._hide_live()
        self._show_overrides()
        if session is None:
            return
        self._disconnect = session.changed.connect(self._changed)
        if session.live is not None:
            self._rate, self._ticks = Rate(), Rate()
            self._show_live()
            return
        self._show_state(session.store)
        self._ask_tokens(session)

    def _show_state(self, store: Store) -> None:
        notes = store.notes
        state = "complete" if store.complete else "incomplete"
        if notes:
            state += f": {notes[0]}" if not store.complete else ""
            extra = len(notes) - (0 if store.complete else 1)
            state += f" · {extra} note{'s' if extra > 1 else ''}" if extra else ""
        self._state.setText(state if store.complete else f"⚠ {state}")
        self._state.setToolTip("\n".join(notes) or "The recording was closed properly; nothing is missing.")

    def _show_tested(self) -> None:
        """Say what the self-test found; of a live model also that it didn't run, of a file only if it ran."""
        session = self._session
        model = session.store.model if session is not None else None
        found = model.verification if model is not None else None
        ask = session is not None and session.live is not None and bool(model and model.layers)
        failed = found is not None and found.verdict is Verdict.FAILED
        _say(self._tested, ("⚠ " if failed else "") + short_verdict(found) if found is not None or ask else "")
        self._tested.setToolTip(
            as_text(found) if found is not None else "moe.verify() tests that what is captured is what the model does"
        )

    def _ask_tokens(self, session: Session) -> None:
        store = session.store
        session.jobs.latest(
            "status",
            lambda _: sum(store.n_tokens(stream) for stream in store.model.streams),
            lambda tokens: self._show_numbers(session, tokens),
            interrupt=False,
        )

    def _changed(self, name: str) -> None:
        if name in (OVERRIDES, "live"):
            self._show_overrides()
        live = self._session is not None and self._session.live is not None
        if live and name in {"stopped", *RELABELS} and not self._timer.isActive():
            self._timer.start()

    def _show_overrides(self) -> None:
        """Say how many overrides act on the model, or acted while a capture was recorded, and once what is wrong with one."""
        overriding = self._session.overriding if self._session is not None else None
        acting = overriding.acting if overriding is not None else ()
        recorded = overriding.recorded if overriding is not None else ()
        count = len(acting or recorded)
        self.overrides.setText(f"⚠ {count} override{'s' * (count != 1)} {'acted' if recorded else 'on'}")
        said = "Passes ran under overrides" if recorded else "The model doesn't route as it would"
        self.overrides.setToolTip(f"{said} (Ctrl+8):\n{say_all(acting or recorded)}")
        self.overrides.setVisible(bool(count))
        note = overriding.told.note if overriding is not None else ""
        if note and note != self._noted:
            self.say(note)
        self._noted = note

    def _hide_live(self) -> None:
        for label in (self._left_out, self._overhead, self._frames):
            label.hide()

    def _show_live(self) -> None:
        """Show what can be said at once, and ask for the rest."""
        session = self._session
        if session is None or session.live is None:
            return
        live, layers = session.live, len(session.store.model.layers)
        self._ticks.add(time.monotonic(), self._ticked)
        _say(self._state, recording_text(session))
        self._state.setToolTip(
            "\n".join(
                ("Everything received is on disk; Ctrl+S keeps it as a capture of its own.", *session.store.notes)
            )
        )
        self._show_tested()
        text = left_out(live)
        _say(self._left_out, f"⚠ {text}" if text else "")
        self._left_out.setToolTip(why_left_out(live))
        _say(self._overhead, overhead_text(live.counters, layers))
        frames = self._ticks.per_second(0)
        _say(self._frames, f"{frames:.0f} frames/s" if frames >= 0.5 else "")
        self._ask_tokens(session)

    def show_renderer(self, text: str, detail: str) -> None:
        """Say how plots are drawn."""
        kind, bracket, why = text.partition(" (")
        self._renderer.setText(kind)
        self._renderer.setToolTip("\n".join(filter(None, (f"Plots are drawn by {kind}{bracket}{why}", detail))))

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        palette = self._left_out.palette()
        palette.setColor(QPalette.ColorRole.WindowText, theme.color("warning"))
        self._left_out.setPalette(palette)
        self._left_out.setStyleSheet(f"color: {theme.warning};")  # the window's sheet says otherwise for labels here

    def say(self, text: str) -> None:
        """Show a line for a while."""
        self.showMessage(text, SAY_FOR)

    def _show_numbers(self, session: Session, tokens: int) -> None:
        if session is not self._session:
            return
        text = numbers(session.store, tokens)
        if session.live is not None:
            self._rate.add(time.monotonic(), session.store.n_passes, tokens)
            passes, rows = self._rate.per_second(0), self._rate.per_second(1)
            if passes > 0:
                text += f" · {rate_text(passes, 'passes')} · {rate_text(rows, 'rows')}"
                self._changed("store")  # until nothing has come for a while
        if text != self._numbers.text():
            self._numbers.setText(text)


def _say(label: QLabel, text: str) -> None:
    if text != label.text():
        label.setText(text)
    label.setVisible(bool(text))
