"""The filter bar: what is typed, what is wrong with it, how much of the capture matches."""

from collections.abc import Sequence

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QToolButton, QVBoxLayout, QWidget

from moedesk.core.errors import FilterError
from moedesk.core.filter import NO_FILTER, Filter, parse
from moedesk.core.filter.keys import KEYS
from moedesk.core.model import ModelInfo
from moedesk.ui.filter_edit import FilterEdit
from moedesk.ui.theme import LIGHT, Theme

PAUSE = 250  # ms without a key after which a bare word is searched for
EXAMPLE = "Filter, for example  layer:2 expert:7 entropy>1.5 -is:padding"


def starts_key(text: str) -> bool:
    """Return whether the last word of a filter could become a key: ``ent`` may be on its way to ``entropy>1``."""
    word = text.split(" ")[-1].removeprefix("-").lower()
    return bool(word) and any(key.startswith(word) for key in KEYS)


def is_bare(text: str) -> bool:
    """Return whether the last word of a filter is a text so far: ``layr`` may be on its way to the mistake ``layr:7``."""
    return text.split(" ")[-1].removeprefix("-").isalpha()


class FilterBar(QWidget):
    """A line for the filter with its error below it. An invalid filter leaves the last valid one in force.

    Signals
    -------
    filter_changed : Filter
        A valid filter other than the one in force was typed.
    """

    filter_changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._filter = NO_FILTER
        self._model: ModelInfo | None = None
        self._theme: Theme = LIGHT
        self._error: FilterError | None = None
        self.edit = FilterEdit()
        self.edit.setPlaceholderText(EXAMPLE)
        self.edit.setAccessibleName("Filter")
        self.clear_button = QToolButton()
        self.clear_button.setText("✕")
        self.clear_button.setToolTip("Clear the filter (Esc)")
        self.clear_button.setAccessibleName("Clear the filter")
        self.clear_button.setAutoRaise(True)
        self.clear_button.hide()
        self.counts = QLabel()
        self.progress = QProgressBar()
        self.progress.setRange(0, 100)
        self.progress.setFixedWidth(90)
        self.progress.setMaximumHeight(14)
        self.progress.setTextVisible(False)
        self.progress.hide()
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.hide()
        self._lay_out()
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE)
        self._pause.timeout.connect(self._finish)
        self.edit.textChanged.connect(self._typed)
        self.edit.editingFinished.connect(self._finish)
        self.clear_button.clicked.connect(self.edit.clear)

    def _lay_out(self) -> None:
        self._line = line = QHBoxLayout()
        line.setSpacing(6)
        line.addWidget(self.edit, 1)
        line.addWidget(self.clear_button)
        line.addWidget(self.progress)
        line.addWidget(self.counts)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 4)
        column.setSpacing(2)
        column.addLayout(line)
        column.addWidget(self.message)

    def add_widget(self, widget: QWidget) -> None:
        """Put a button of the panel at the end of the line."""
        self._line.addWidget(widget)

    @property
    def filter(self) -> Filter:
        """The valid filter in force."""
        return self._filter

    @property
    def error(self) -> FilterError | None:
        """What is wrong with the text, if anything."""
        return self._error

    def set_model(self, model: ModelInfo) -> None:
        """Say which layers and experts there are."""
        self._model = self.edit.model_info = model

    def set_token_texts(self, texts: Sequence[str]) -> None:
        """Say which token texts to offer after ``token:``, the most frequent first."""
        self.edit.token_texts = texts

    def set_label_names(self, names: Sequence[str]) -> None:
        """Say which names to offer after ``label:``."""
        self.edit.label_names = names

    def set_filter(self, new: Filter) -> None:
        """Show a filter that was set elsewhere."""
        if new != self._filter:
            self._filter = new
            self.edit.setText(new.text)
            self._check(new.text)

    def set_matches(self, passes: int, all_passes: int, events: int, all_events: int, note: str = "") -> None:
        """Say how much of what is there matches, and what could not be searched."""
        self.progress.hide()
        warning = " ⚠" if note else ""
        self.counts.setText(f"{passes:,} of {all_passes:,} passes · {events:,} of {all_events:,} events match{warning}")
        hint = "An event is one token at one MoE layer; padding counts only if the filter names it"
        self.counts.setToolTip(f"{hint}.\n⚠ {note}" if note else hint)

    def set_total(self, text: str) -> None:
        """Say how much there is without a filter."""
        self.progress.hide()
        self.counts.setText(text)
        self.counts.setToolTip("")

    def set_progress(self, share: float) -> None:
        """Say how far a search has come; typing on cancels it."""
        self.progress.show()
        self.progress.setValue(round(share * 100))
        self.counts.setText(f"searching… {share:.0%}")

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        for label, role in ((self.message, "error"), (self.counts, "muted")):
            palette = label.palette()
            palette.setColor(QPalette.ColorRole.WindowText, theme.color(role))
            label.setPalette(palette)
        self._show_error()

    def focus(self) -> None:
        """Put the keyboard here, the whole text selected."""
        self.edit.setFocus()
        self.edit.selectAll()

    def _typed(self, text: str) -> None:
        self.clear_button.setVisible(bool(text))
        new = self._check(text)
        self._pause.stop()
        if new is None or (self.edit.hasFocus() and starts_key(text)):
            return
        if self.edit.hasFocus() and is_bare(text):
            self._pause.start()
        else:
            self._apply(new)

    def _finish(self) -> None:
        """Apply what was held back while it could still become something else."""
        self._pause.stop()
        new = self._check(self.edit.text())
        if new is not None:
            self._apply(new)

    def _apply(self, new: Filter) -> None:
        if new.to_text() != self._filter.to_text():
            self._filter = new
            self.filter_changed.emit(new)

    def _check(self, text: str) -> Filter | None:
        """Return the filter that ``text`` stands for, or None after showing what is wrong with it."""
        self._error = None
        new = None
        try:
            new = parse(text)
            if self._model is not None:
                new.check(self._model)
        except FilterError as error:
            new, self._error = None, error
        self._show_error()
        return new

    def _show_error(self) -> None:
        error = self._error
        self.edit.set_error((error.start, error.end) if error is not None else None, self._theme.color("error"))
        color = self._theme.error
        self.edit.setStyleSheet(
            f"QLineEdit {{ border: 1px solid {color}; padding: 2px; }}" if error is not None else ""
        )
        still = f" Still showing: {self._filter.text}" if self._filter else ""
        self.message.setText(f"⚠ {error}.{still}" if error is not None else "")
        self.message.setVisible(error is not None)
