"""One breakpoint of the list: its check box, its fields, its hits, and what is wrong with it below."""

from PySide6.QtCore import QObject, QSize, Signal
from PySide6.QtWidgets import QCheckBox, QLabel, QLineEdit, QSpinBox, QToolButton, QWidget

from moedesk.core.breakpoint import Breakpoint
from moedesk.core.model import ModelInfo
from moedesk.panels.breakpoints.model import Problem, problem_of
from moedesk.session.breakpoints import BreakpointEntry
from moedesk.ui.filter_edit import FilterEdit
from moedesk.ui.icons import icon
from moedesk.ui.theme import LIGHT, Theme

MOST_IGNORED = 1_000_000_000


class BreakpointRow(QObject):
    """The widgets of one breakpoint; the list lays them out in columns.

    What is being typed stays when the model's process tells of its breakpoints anew; it is sent when it is finished and can
    break, and until then the breakpoint before it is in force.

    Signals
    -------
    switched : bool
        The check box was clicked.
    edited : Breakpoint
        A field was finished; the whole breakpoint as it reads now, which can break.
    removed :
        The button that takes it away was pressed.
    """

    switched = Signal(bool)
    edited = Signal(object)
    removed = Signal()

    def __init__(self, entry: BreakpointEntry, model: ModelInfo, parent: QWidget) -> None:
        super().__init__(parent)
        self.entry = entry
        self._model = model
        self._theme: Theme = LIGHT
        self.on = QCheckBox()
        self.text = FilterEdit()
        self.condition = QLineEdit(placeholderText="always")
        self.log = QLineEdit(placeholderText="stop")
        self.ignore = QSpinBox()
        self.hits = QLabel()
        self.remove_button = QToolButton()
        self.message = QLabel(wordWrap=True)
        self._name()
        self._connect()
        self.show_entry(entry, model)

    @property
    def fields(self) -> tuple[QWidget, ...]:
        """The widgets of the line, a column each."""
        return self.on, self.text, self.condition, self.log, self.ignore, self.hits, self.remove_button

    def _name(self) -> None:
        self.on.setAccessibleName("On")
        self.text.setAccessibleName("Break where")
        self.condition.setAccessibleName("Only if")
        self.condition.setToolTip(
            "A Python expression in the console's names, such as  margin < 0.01 and token != ' the'"
        )
        self.log.setAccessibleName("Print instead of stopping")
        self.log.setToolTip(
            "A text with {fields}, such as  {token} went to {ids}; printed in the console, the model goes on"
        )
        self.ignore.setMaximum(MOST_IGNORED)
        self.ignore.setKeyboardTracking(False)
        self.ignore.setAccessibleName("Pass over first")
        self.ignore.setToolTip("How many matches are passed over first")
        self.ignore.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self.ignore.setFixedSize(60, self.text.sizeHint().height())
        self.hits.setAccessibleName("Hits")
        self.hits.setToolTip("How often it stopped the model or printed its line, and matches that were passed over")
        self.remove_button.setAutoRaise(True)
        self.remove_button.setToolTip("Remove this breakpoint")
        self.remove_button.setAccessibleName("Remove this breakpoint")
        self.remove_button.setIconSize(QSize(12, 12))

    def _connect(self) -> None:
        self.on.clicked.connect(self.switched)
        self.remove_button.clicked.connect(self.removed)
        for edit in (self.text, self.condition, self.log):
            edit.textEdited.connect(lambda _: self._show_problem(self._problem()))
            edit.editingFinished.connect(self._finish)
        self.ignore.valueChanged.connect(lambda _: self._finish())

    def show_entry(self, entry: BreakpointEntry, model: ModelInfo) -> None:
        """Take over what was told; a field in which something else is being typed keeps it."""
        before, self.entry, self._model = self.entry.breakpoint, entry, model
        self.text.model_info = model
        now = entry.breakpoint
        for edit, old, new in (
            (self.text, before.text, now.text),
            (self.condition, before.condition, now.condition),
            (self.log, before.log, now.log),
        ):
            if not edit.hasFocus() or edit.text() == old:
                _set_text(edit, new)
        self.ignore.blockSignals(True)
        self.ignore.setValue(min(now.ignore, MOST_IGNORED))
        self.ignore.blockSignals(False)
        self.on.setChecked(entry.on)
        self.on.setToolTip("Stops here; click to leave it out" if entry.on else "Left out; click to stop here")
        self.hits.setText(f"{entry.hits:,}")
        self._show_problem(self._problem())

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self.remove_button.setIcon(icon("close", theme))
        self.message.setStyleSheet(f"color: {theme.error};")
        self.hits.setStyleSheet(f"color: {theme.muted};")
        self._show_problem(self._problem())

    def close(self) -> None:
        """Take the widgets away."""
        for widget in (*self.fields, self.message):
            widget.hide()
            widget.deleteLater()
        self.deleteLater()

    def typed(self) -> Breakpoint:
        """Return the breakpoint as its fields read now."""
        return Breakpoint(
            self.text.text().strip(), self.log.text().strip(), self.condition.text().strip(), self.ignore.value()
        )

    def _problem(self) -> Problem | None:
        typed = self.typed()
        if typed == self.entry.breakpoint and self.entry.problem:
            return Problem(self.entry.problem)
        return problem_of(typed, self._model)

    def _finish(self) -> None:
        """Send what was typed if it can break; an emptied filter is the one before."""
        if not self.text.text().strip():
            self.text.setText(self.entry.breakpoint.text)
        typed, problem = self.typed(), self._problem()
        self._show_problem(problem)
        if problem is None and typed != self.entry.breakpoint:
            self.edited.emit(typed)

    def _show_problem(self, problem: Problem | None) -> None:
        self.text.set_error(problem.span if problem is not None else None, self._theme.color("error"))
        still = "" if self.typed() == self.entry.breakpoint else f" Still in force: {self.entry.breakpoint.title}"
        self.message.setText("" if problem is None else f"⚠ {problem.text}.{still}".replace("..", "."))
        self.message.setVisible(problem is not None)


def _set_text(edit: QLineEdit, text: str) -> None:
    if edit.text() != text:
        edit.setText(text)
        edit.setCursorPosition(0)
