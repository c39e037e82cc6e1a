"""The toolbar of a running model: record, clear, pause the display, follow the newest pass; and what was left out."""

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QCheckBox, QFrame, QHBoxLayout, QToolButton, QWidget

from moedesk.core.selection import NOTHING
from moedesk.session.live import Live
from moedesk.session.session import Session
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.icons import icon
from moedesk.ui.theme import LIGHT, Theme

KEPT = "everything received is kept"
SPARED = (
    "without entropy and margin: the model ran faster than these could be worked out; ids, weights and load are whole"
)
SHED = (
    "counts only: the queue to the app was above its mark, so their ids and weights stayed behind; their load is exact"
)
LOST = "lost: the queue to the app was full; nothing of them was received"


def left_out(live: Live) -> str:
    """Return what did not reach the app, in one line; empty if nothing."""
    if live.link_dropped:
        return live.link_dropped
    counters = live.counters
    parts = [(counters.spared, "without entropy"), (counters.shed, "counts only"), (counters.dropped, "lost")]
    return " · ".join(f"{_passes(number)} {what}" for number, what in parts if number)


def why_left_out(live: Live) -> str:
    """Return what ``left_out`` means, a line each."""
    counters = live.counters
    parts = ((counters.spared, SPARED), (counters.shed, SHED), (counters.dropped, LOST))
    lines = [f"{_passes(number)} {what}" for number, what in parts if number]
    if counters.dropped_tokens:
        lines.append(f"{counters.dropped_tokens:,} token rows are missing in them")
    return "\n".join([live.link_dropped] * bool(live.link_dropped) + [f"{line}." for line in lines]).strip()


class LiveBar(QWidget):
    """Controls the live side of a session and says how it stands; hidden for a file."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("live_bar")
        self._session = session
        self._theme: Theme = LIGHT
        self._drawn: tuple[bool, bool, Theme] | None = None
        self._shown: tuple[object, ...] | None = None
        self._seen = 0  # passes that had arrived when last looked
        self._arrived = 0  # passes since the display stands still
        self.record = self._button("Record", self.toggle_recording, checkable=True)
        self.clear_button = self._button("Clear", self.clear)
        self.pause = self._button("Pause the display", self.toggle_paused, checkable=True)
        self.follow = self._button("Follow the newest pass", self.toggle_follow, checkable=True)
        self.preserve = QCheckBox("Preserve log")
        self.preserve.setToolTip("Keep the passes when a model is attached anew or the kernel restarts")
        self.preserve.clicked.connect(self.toggle_preserve)
        self.clear_button.setToolTip("Clear (Ctrl+L): begin with an empty capture; Undo close brings this one back")
        self.state = ElidedLabel()
        self.state.setAccessibleName("State of the live session")
        self.warning = ElidedLabel()
        self.warning.setAccessibleName("What was left out")
        self._lay_out()
        self.refresh()

    def _button(self, name: str, pressed: object, checkable: bool = False) -> QToolButton:
        button = QToolButton()
        button.setAutoRaise(True)
        button.setCheckable(checkable)
        button.setAccessibleName(name)
        button.setToolTip(name)
        button.setIconSize(QSize(16, 16))
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keyboard where it was
        button.clicked.connect(lambda _=False: pressed())  # type: ignore[operator]
        return button

    def _lay_out(self) -> None:
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 2, 8, 2)
        row.setSpacing(4)
        for widget in (self.record, self.clear_button, _line(), self.pause, self.follow, _line(), self.preserve):
            row.addWidget(widget)
        row.addSpacing(6)
        row.addWidget(self.state, 3)
        row.addWidget(self.warning, 2)

    def refresh(self) -> None:
        """Take over the state of the session's live side."""
        live = self._session.live
        if self.isHidden() != (live is None):
            self.setVisible(live is not None)
        if live is None:
            return
        self._count(live)
        shown = self._showing(live)
        if shown != self._shown:
            self._show(live)
            self._shown = self._showing(live)

    def _showing(self, live: Live) -> tuple[object, ...]:
        """Return all that ``_show`` depends on, and what a click may have changed."""
        buttons = (self.record, self.pause, self.follow, self.preserve)
        return (
            live.attached and not live.ended,
            live.recording,
            live.paused,
            live.follow,
            live.preserve,
            self._state(live),
            left_out(live),
            why_left_out(live),
            *(button.isChecked() for button in buttons),
        )

    def _show(self, live: Live) -> None:
        attached = live.attached and not live.ended
        self.record.setEnabled(attached)
        self.record.setChecked(live.recording and attached)
        self.record.setToolTip(
            "Stop recording (Ctrl+E): the hooks stay and take nothing" if live.recording else "Record (Ctrl+E)"
        )
        self.pause.setChecked(live.paused)
        self.pause.setToolTip(
            "Go on (F8): show what arrived meanwhile" if live.paused else "Pause the display (F8); recording goes on"
        )
        self.follow.setChecked(live.follow)
        self.follow.setToolTip(
            "The newest pass is kept in sight; click, or scroll back, to stay where you are"
            if live.follow
            else "Follow: back to the newest pass, letting go of the selected one"
        )
        self.preserve.setChecked(live.preserve)
        self.state.setText(self._state(live))
        text = left_out(live)
        self.warning.setVisible(bool(text))
        self.warning.setText(f"⚠ {text}" if text else "")
        self.warning.setToolTip(why_left_out(live))
        self._draw()

    def _count(self, live: Live) -> None:
        """Add up what arrives while the display stands still; counters that begin anew belong to another model."""
        ran = live.counters.passes - live.counters.dropped
        new = ran - self._seen if ran >= self._seen else ran
        self._seen = ran
        self._arrived = self._arrived + new if live.paused and self.pause.isChecked() else 0

    def _state(self, live: Live) -> str:
        if live.ended:
            return f"Ended: {live.ended.rstrip('.')}; {KEPT}"
        if not live.attached:
            return "No model attached"
        parts = ["recording" if live.recording else "not recording (Ctrl+E records)"]
        if live.paused:
            parts.append(f"paused · {_passes(self._arrived)} arrived since")
        text = " · ".join(parts)
        return text[0].upper() + text[1:]

    def toggle_recording(self) -> None:
        """Start or stop taking passes."""
        live = self._session.live
        if live is not None and live.attached and not live.ended:
            live.set_recording(not live.recording)
        self.refresh()

    def clear(self) -> None:
        """Begin with an empty capture."""
        if self._session.live is not None:
            self._session.live.clear()

    def toggle_paused(self) -> None:
        """Hold the display, or let it catch up."""
        live = self._session.live
        if live is not None:
            live.set_paused(not live.paused)
        self.refresh()

    def toggle_follow(self) -> None:
        """Keep the newest pass in sight, or stay; following lets go of the selected pass."""
        live = self._session.live
        if live is not None:
            if not live.follow and self._session.selection.pass_id is not None:
                self._session.select(NOTHING)
            live.set_follow(not live.follow)
        self.refresh()

    def toggle_preserve(self) -> None:
        """Keep passes over a new attach, or not."""
        live = self._session.live
        if live is not None:
            live.set_preserve(not live.preserve)
        self.refresh()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        for label, role in ((self.state, "muted"), (self.warning, "warning")):
            palette = label.palette()
            palette.setColor(QPalette.ColorRole.WindowText, theme.color(role))
            label.setPalette(palette)
        self._draw()

    def _draw(self) -> None:
        """Draw the signs: a full disc while recording, a ring while not; two bars to pause, an arrow to go on."""
        on, paused = self.record.isChecked(), self.pause.isChecked()
        if (on, paused, self._theme) == self._drawn:
            return
        self._drawn = (on, paused, self._theme)
        self.record.setIcon(icon("record-on" if on else "record-off", self._theme, "error" if on else "text"))
        self.clear_button.setIcon(icon("clear", self._theme))
        self.pause.setIcon(icon("play" if paused else "pause", self._theme))
        self.follow.setIcon(icon("follow", self._theme))


def _passes(number: int) -> str:
    return f"{number:,} pass" + ("" if number == 1 else "es")


def _line() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.VLine)
    line.setFrameShadow(QFrame.Shadow.Plain)
    line.setFixedHeight(16)
    line.setEnabled(False)
    return line
