"""The banner across the window while a model stands at a breakpoint: why, where, and how to go on."""

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from moedesk.session import breakpoints
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.icons import icon
from moedesk.ui.stops import Stops
from moedesk.ui.theme import LIGHT, Theme

NARROW = 1000
"""Pixels of a window below which buttons with a picture are that alone, so that more of the lines can be read."""


class StopBanner(QWidget):
    """Two lines and the buttons; hidden while every model runs. For a session behind others it names it and has "Show"."""

    def __init__(self, stops: Stops) -> None:
        super().__init__()
        self._stops = stops
        self._theme = LIGHT
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setObjectName("stop_banner")
        self.setAccessibleName("A model stands at a breakpoint")
        self.sign = QLabel()
        self.why, self.where = ElidedLabel(), ElidedLabel()
        font = self.why.font()
        font.setBold(True)
        self.why.setFont(font)
        self.resume = self._button("Resume", "Go on to the next layer in which a breakpoint matches (F8)", stops.resume)
        self.next_token = self._button("Next token", "Go on to the next token that matches (F10)", stops.step_token)
        self.next_layer = self._button(
            "Next layer", "Go on to the next MoE layer, with the same token (F11)", stops.step_layer
        )
        self.all = self._button("Deactivate all", "", self._switch_all)
        self.to_front = self._button("Show", "Bring this session to the front", stops.show)
        self._lay_out()
        stops.changed.connect(self.refresh)
        self.refresh()

    def _button(self, text: str, hint: str, pressed: object) -> QPushButton:
        button = QPushButton(text)
        button.setAccessibleName(text)
        button.setToolTip(hint)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keyboard in the console
        button.setIconSize(QSize(14, 14))
        button.clicked.connect(lambda _=False: pressed())  # type: ignore[operator]
        return button

    def _lay_out(self) -> None:
        lines = QVBoxLayout()
        lines.setSpacing(1)
        lines.addWidget(self.why)
        lines.addWidget(self.where)
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 4, 8, 4)
        row.setSpacing(6)
        row.addWidget(self.sign)
        row.addLayout(lines, 1)
        for button in (self.to_front, self.resume, self.next_token, self.next_layer, self.all):
            row.addWidget(button)

    def refresh(self) -> None:
        """Show where a model stands, or hide."""
        stop, session = self._stops.stop, self._stops.session
        self.setVisible(stop is not None)
        if stop is None or session is None:
            return
        here = self._stops.in_front
        self.why.setText(f"Stopped{'' if here else f' in {session.title}'}: {stop.why}")
        chosen = f" · went to {stop.chosen} (expert × weight)" if stop.slots else ""
        self.where.setText(stop.where + chosen)
        for button in (self.next_token, self.next_layer, self.all):
            button.setVisible(here)
        self.to_front.setVisible(not here)
        active = breakpoints.breakpoints_of(session.live).active
        self.all.setText("Deactivate all" if active else "Activate all")
        self.all.setAccessibleName(self.all.text())
        hint = "Stop at no breakpoint from now on" if active else "Stop at the breakpoints again"
        self.all.setToolTip(f"{hint}; the list stays as it is (Ctrl+F8)")

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Leave the words of the buttons out where there is little room."""
        for button in (self.resume, self.next_token, self.next_layer):
            button.setText("" if event.size().width() < NARROW else button.accessibleName())
        super().resizeEvent(event)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self.sign.setPixmap(icon("pause", theme, "warning").pixmap(16, 16))
        self.resume.setIcon(icon("play", theme))
        self.next_token.setIcon(icon("next", theme))
        self.next_layer.setIcon(icon("down", theme))
        self.setStyleSheet(
            f"#stop_banner {{ background: {theme.raised}; border-bottom: 2px solid {theme.warning}; }}"
            f"#stop_banner QLabel {{ color: {theme.text}; }}"
            "#stop_banner QPushButton { padding: 3px 8px; }"
        )

    def _switch_all(self) -> None:
        session = self._stops.session
        if session is not None and session.live is not None:
            breakpoints.activate(session.live, not breakpoints.breakpoints_of(session.live).active)
