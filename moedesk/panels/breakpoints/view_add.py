"""The line above the list: where to break next, ready ones, and the switch for all."""

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QMenu, QPushButton, QToolButton, QVBoxLayout, QWidget

from moedesk.core.breakpoint import Breakpoint
from moedesk.core.model import ModelInfo
from moedesk.panels.breakpoints.model import EXAMPLE, Problem, problem_of
from moedesk.ui.filter_edit import FilterEdit
from moedesk.ui.icons import icon
from moedesk.ui.theme import LIGHT, Theme


class AddLine(QWidget):
    """A field for a filter with its error below, and buttons.

    Parameters
    ----------
    ready : sequence of (title, filter)
        What the menu offers.

    Signals
    -------
    added : Breakpoint
        One that can break was entered or taken from the menu.
    switched :
        All are to be deactivated, or activated again.
    """

    added = Signal(object)
    switched = Signal()

    def __init__(self, ready: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._theme: Theme = LIGHT
        self._model = ModelInfo("", "")
        self._refused: Problem | None = None
        self.edit = FilterEdit()
        self.edit.setPlaceholderText(EXAMPLE)
        self.edit.setAccessibleName("Break where")
        self.add_button = QPushButton("Add")
        self.ready_button = _flat("Ready ones")
        self.ready_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu = QMenu(self.ready_button)
        for title, text in ready:
            self.menu.addAction(f"{title}   {text}", partial(self.added.emit, Breakpoint(text)))
        self.ready_button.setMenu(self.menu)
        self.all_button = _flat("Deactivate all")
        self.all_button.setCheckable(True)
        self.all_button.setToolTip("Stop at no breakpoint until it is pressed again; the list stays as it is (Ctrl+F8)")
        self.all_button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.all_button.setIconSize(QSize(14, 14))
        self.summary = QLabel()
        self.message = QLabel(wordWrap=True)
        self.message.hide()
        self._lay_out()
        self.edit.textChanged.connect(lambda _: self._show_problem())
        self.edit.returnPressed.connect(self._add)
        self.add_button.clicked.connect(self._add)
        self.all_button.clicked.connect(self.switched)

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(6)
        row.addWidget(self.edit, 1)
        for widget in (self.add_button, self.ready_button, self.all_button, self.summary):
            row.addWidget(widget)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 4, 8, 2)
        column.setSpacing(2)
        column.addLayout(row)
        column.addWidget(self.message)

    def show_state(self, model: ModelInfo, active: bool, summary: str, refused: str) -> None:
        """Take over what can be broken in, whether the breakpoints are active, and why the last order was refused, if it was."""
        self._model = self.edit.model_info = model
        self._refused = Problem(refused) if refused else None
        self.all_button.setChecked(not active)
        self.summary.setText(summary)
        self._show_problem()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self.all_button.setIcon(icon("stop", theme))
        self.message.setStyleSheet(f"color: {theme.error};")
        self.summary.setStyleSheet(f"color: {theme.muted};")
        self._show_problem()

    def _problem(self) -> Problem | None:
        text = self.edit.text().strip()
        return problem_of(Breakpoint(text), self._model) if text else self._refused

    def _add(self) -> None:
        text = self.edit.text().strip()
        if text and self._problem() is None:
            self.added.emit(Breakpoint(text))
            self.edit.clear()

    def _show_problem(self) -> None:
        problem = self._problem()
        self.add_button.setEnabled(bool(self.edit.text().strip()) and problem is None)
        self.edit.set_error(problem.span if problem is not None else None, self._theme.color("error"))
        self.message.setText("" if problem is None else f"⚠ {problem.text}")
        self.message.setVisible(problem is not None)


def _flat(text: str) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setAutoRaise(True)
    return button
