"""The replay bar: play, pause, step, scrub; every panel follows the session's cursor."""

import time

import numpy as np
from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QSlider, QToolButton, QWidget

from moedesk.core.columns import Phase
from moedesk.session.replay import PASSES_PER_SECOND, SPEEDS, Replay
from moedesk.session.session import Session
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.icons import icon
from moedesk.ui.theme import LIGHT, Theme
from moedesk.ui.throttle import Throttle
from moedesk.ui.ticker import Ticker

_BUTTONS = (
    ("first", "To the first pass (Ctrl+Home)"),
    ("previous", "To the previous pass (Ctrl+Left)"),
    ("play", "Play or pause (F8)"),
    ("next", "To the next pass (Ctrl+Right)"),
    ("last", "To the last pass (Ctrl+End)"),
    ("stop", "Leave the replay: show all passes (Shift+F8)"),
)
PERIOD = 200  # milliseconds between two looks at how many passes a running model has made


def describe(record: np.void, passes: int) -> str:
    """Return a pass's place, phase, token rows and time as one line."""
    milliseconds = (int(record["t1_ns"]) - int(record["t0_ns"])) / 1e6
    phase = Phase(int(record["phase"])).label
    rows = int(record["n_seen"])
    return f"pass {int(record['id']):,} of {passes:,} · {phase} · {rows:,} tokens · {milliseconds:,.1f} ms"


class Transport(QWidget):
    """Controls the replay of the current session."""

    def __init__(self, ticker: Ticker) -> None:
        super().__init__()
        self.setObjectName("transport")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._ticker = ticker
        self._theme = LIGHT
        self._replays: dict[Session, Replay] = {}
        self._replay: Replay | None = None
        self._disconnect = ticker.add(self._tick)
        self._disconnect_session = lambda: None
        self._described: int | None = None
        self._drawn: tuple[bool, Theme] | None = None
        self._growing = Throttle(self._show, PERIOD, self)
        self.buttons = {name: self._button(name, tip) for name, tip in _BUTTONS}
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setAccessibleName("Replay position")
        self.slider.setToolTip("Drag to any pass; the panels show the routing up to it")
        self.slider.valueChanged.connect(self._scrubbed)
        self.speed = QComboBox()
        self.speed.setAccessibleName("Replay speed")
        self.speed.setToolTip(f"Speed; 1× is {PASSES_PER_SECOND} passes per second, whatever they took when recorded")
        for speed in SPEEDS:
            self.speed.addItem(f"{speed:g}×", speed)
        self.speed.currentIndexChanged.connect(self._speed_chosen)
        self.label = ElidedLabel()
        self._lay_out()
        self.set_session(None)

    def _lay_out(self) -> None:
        layout = QHBoxLayout(self)
        layout.setContentsMargins(6, 2, 6, 2)
        layout.setSpacing(2)
        for button in self.buttons.values():
            layout.addWidget(button)
        layout.addWidget(self.speed)
        layout.addSpacing(6)
        layout.addWidget(self.slider, 5)
        layout.addSpacing(6)
        layout.addWidget(self.label, 4)

    def _button(self, name: str, tip: str) -> QToolButton:
        button = QToolButton()
        button.setToolTip(tip)
        button.setAutoRaise(True)
        button.setAccessibleName(tip.split(" (")[0])
        button.setIconSize(QSize(16, 16))
        action = {
            "first": self.to_first,
            "previous": lambda: self.step(-1),
            "play": self.toggle,
            "next": lambda: self.step(1),
            "last": self.to_last,
            "stop": self.leave,
        }[name]
        button.clicked.connect(action)
        return button

    @property
    def ready(self) -> bool:
        """Whether there are passes to replay."""
        return self._replay is not None and self._replay.last >= 0

    @property
    def playing(self) -> bool:
        """Whether the cursor moves by itself."""
        return self._replay is not None and self._replay.playing

    def set_session(self, session: Session | None) -> None:
        """Control another session; the one before pauses where it is."""
        if self._replay is not None:
            self._replay.pause()
        self._disconnect_session()
        self._disconnect_session = lambda: None
        self._replay = None
        if session is not None:
            self._replay = self._replays.setdefault(session, Replay(session))
            self._disconnect_session = session.changed.connect(self._session_changed)
            self.speed.setCurrentIndex(SPEEDS.index(self._replay.speed))
        self.setEnabled(self.ready)
        self._show()

    def forget(self, session: Session) -> None:
        """Let go of a session that was closed."""
        self._replays.pop(session, None)

    def toggle(self) -> None:
        """Play or pause."""
        if self._replay is None:
            return
        if self._replay.playing:
            self._replay.pause()
        else:
            self._replay.play()
            self._ticker.wake()
        self._show()

    def step(self, passes: int) -> None:
        """Go some passes on or back."""
        if self._replay is not None and self.ready:
            self._replay.step(passes)
            self._show()

    def to_first(self) -> None:
        """Go to the first pass."""
        self._seek(0)

    def to_last(self) -> None:
        """Go to the last pass."""
        if self._replay is not None:
            self._seek(self._replay.last)

    def leave(self) -> None:
        """Leave the replay: panels show all passes."""
        if self._replay is not None:
            self._replay.leave()
            self._show()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        for name, button in self.buttons.items():
            if name != "play":
                button.setIcon(icon(name, theme))
        self._show()

    def _seek(self, cursor: int) -> None:
        if self._replay is not None and self.ready:
            self._replay.pause()
            self._replay.session.seek(cursor)
            self._show()

    def _scrubbed(self, value: int) -> None:
        if self._replay is not None and value != self._replay.session.cursor:
            self._seek(value)

    def _speed_chosen(self, place: int) -> None:
        if self._replay is not None:
            self._replay.speed = SPEEDS[place]

    def _session_changed(self, name: str) -> None:
        if name in ("cursor", "store"):
            if self.isEnabled() != self.ready:
                self.setEnabled(self.ready)  # the first passes of a live session
            self._ticker.wake()
            if name == "store":
                self._growing.ask()
            else:
                self._show()

    def _tick(self) -> bool:
        if self._replay is None or not self._replay.playing:
            return False
        goes_on = self._replay.advance(time.monotonic())
        if not goes_on:
            self._show()
        return goes_on

    def _show(self) -> None:
        self._growing.done()
        self._draw()
        cursor = None
        if self._replay is not None:
            cursor = self._replay.session.cursor
            self.slider.blockSignals(True)
            self.slider.setRange(0, max(0, self._replay.last))
            self.slider.setPageStep(max(1, self._replay.last // 20))
            self.slider.setValue(self._replay.last if cursor is None else cursor)
            self.slider.blockSignals(False)
        self.buttons["stop"].setEnabled(cursor is not None)
        self._describe(cursor)

    def _draw(self) -> None:
        """Draw the sign of the button that plays and pauses."""
        drawn = self.playing, self._theme
        if drawn != self._drawn:
            self._drawn = drawn
            self.buttons["play"].setIcon(icon("pause" if self.playing else "play", self._theme))

    def _describe(self, cursor: int | None) -> None:
        self._described = cursor
        if self._replay is None or not self.ready:
            self.label.setText("nothing to replay")
            return
        session = self._replay.session
        passes = session.store.n_passes
        if cursor is None:
            session.jobs.cancel("transport")
            self.label.setText(
                "press play (F8) to replay the pass"
                if passes == 1
                else f"all {passes:,} passes · press play (F8) to replay them"
            )
            return
        self.label.setText(f"pass {cursor:,} of {passes:,}")
        session.jobs.latest(
            "transport",
            lambda _: session.store.read_passes(cursor, cursor + 1)[0],
            lambda record: self._described_pass(session, record),
        )

    def _described_pass(self, session: Session, record: np.void) -> None:
        if self._replay is not None and self._replay.session is session and self._described == int(record["id"]):
            self.label.setText(describe(record, session.store.n_passes))
