"""What "Run before / after" shows: a text without and with the overrides, side by side."""

from collections.abc import Callable

from PySide6.QtCore import QSignalBlocker, Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QSplitter,
    QStackedLayout,
    QVBoxLayout,
    QWidget,
)

from moedesk.core.before_after import TASK, WITH, WITHOUT, BeforeAfter
from moedesk.core.before_after_text import summary
from moedesk.core.errors import MoedeskError
from moedesk.panels.overrides.model_before_after import layer_text, load_pair, most_moved, written
from moedesk.panels.overrides.view_texts import TwoTexts
from moedesk.panels.overrides.view_token_table import TokenTable
from moedesk.session.conversation import Outcome
from moedesk.session.session import Session
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.load_chart import LoadChart
from moedesk.ui.theme import Theme

EMPTY = (
    "Runs a text twice, without the overrides and with those that are on, and shows both side by side: what is written, the "
    "log-probability of each token, the loss, the load of every layer.\n\n"
    "These passes are in no other panel and no total, unless Record is ticked: then they are recorded with the labels "
    f"“{WITHOUT}” and “{WITH}”."
)
RECORD_HINT = (
    f"Whether the passes of both runs go into the session like any others, with the labels “{WITHOUT}” and “{WITH}”; "
    "if not, no other panel and no total has them"
)
WAITING = "Waiting for the kernel: a cell runs there; this comes after it"
MOST_NEW = 512
TEXT = "Once upon a time there was"


class BeforeAfterTab(QWidget):
    """A field for a text, and what its two runs gave."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.result: BeforeAfter | None = None
        self._cancel: Callable[[], None] | None = None
        self._recorded = False  # what was asked for last
        self.text, self.new_tokens, self.record = QLineEdit(TEXT), QSpinBox(), QCheckBox("Record")
        self.run_button, self.cancel_button = QPushButton("Run before / after"), QPushButton("Cancel")
        self.progress, self.line = QProgressBar(), ElidedLabel()
        self.texts, self.tokens, self.load = TwoTexts(), TokenTable(), LoadChart()
        self.layer, self.empty = QComboBox(), QLabel(EMPTY)
        self._lay_out()
        self.run_button.clicked.connect(self.run)
        self.text.returnPressed.connect(self.run)
        self.cancel_button.clicked.connect(self.cancel)
        self.layer.currentIndexChanged.connect(self._show_load)
        self._escape = QShortcut(QKeySequence("Escape"), self)
        self._escape.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        self._escape.activated.connect(self.cancel)
        self.set_running(False)

    def _lay_out(self) -> None:
        self.text.setAccessibleName("Text to run")
        self.text.setPlaceholderText("Text to run")
        self.new_tokens.setRange(0, MOST_NEW)
        self.new_tokens.setValue(24)
        self.new_tokens.setToolTip(
            "Tokens that the model writes after the text, the likeliest each time; 0: only score it"
        )
        self.new_tokens.setPrefix("+ ")
        self.new_tokens.setSuffix(" tokens")
        self.record.setToolTip(RECORD_HINT)
        self.progress.setRange(0, 100)
        self.progress.setFixedWidth(100)
        self.progress.setMaximumHeight(16)
        self.layer.setAccessibleName("Layer whose load is shown")
        bar = QHBoxLayout()
        bar.setContentsMargins(6, 4, 6, 2)
        bar.setSpacing(6)
        bar.addWidget(self.text, 1)
        for widget in (self.new_tokens, self.record, self.run_button, self.progress, self.cancel_button):
            bar.addWidget(widget)
        line = QHBoxLayout()
        line.setContentsMargins(8, 0, 8, 0)
        line.addWidget(self.line)
        load = QWidget()
        column = QVBoxLayout(load)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.layer)
        column.addWidget(self.load, 1)
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        for part in (self.texts, self.tokens, load):
            self.splitter.addWidget(part)
        self.splitter.setSizes([340, 340, 320])
        self.empty.setWordWrap(True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.empty.setMargin(12)
        self._pages = QStackedLayout()
        self._pages.addWidget(self.empty)
        self._pages.addWidget(self.splitter)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(2)
        whole.addLayout(bar)
        whole.addLayout(line)
        whole.addLayout(self._pages, 1)

    def run(self) -> None:
        """Ask the model's process to run the text; what an earlier run gave stays until it has."""
        live = self._session.live
        if live is None or self._cancel is not None:
            return
        value = {
            "text": self.text.text(),
            "max_new_tokens": self.new_tokens.value(),
            "record": self.record.isChecked(),
        }
        self._recorded = self.record.isChecked()
        self.set_running(True)
        self.line.setText(WAITING)
        self._cancel = live.ask(TASK, value, self._done, self._progress)

    def cancel(self) -> None:
        """Have it stopped."""
        if self._cancel is not None:
            self._cancel()
            self._ended("Cancelled")

    def set_possible(self, why_not: str) -> None:
        """Offer to run, or say why that can't be."""
        self.run_button.setEnabled(not why_not)
        self.run_button.setToolTip(why_not or "Without overrides, then with those that are on")
        if self.result is None and self._cancel is None:
            self.line.setText(why_not)

    def set_running(self, running: bool) -> None:
        """Show progress and Cancel in place of Run, or the other way round."""
        had_focus = self.run_button.hasFocus() or self.cancel_button.hasFocus()
        self.progress.setValue(0)
        self.run_button.setVisible(not running)
        self.cancel_button.setVisible(running)
        self.progress.setVisible(running)
        self._escape.setEnabled(running)  # else it would keep the drawer from being closed
        if had_focus:
            (self.cancel_button if running else self.run_button).setFocus()

    def _progress(self, share: float, text: str) -> None:
        self.progress.setValue(round(100 * share))
        self.line.setText(text)

    def _done(self, outcome: Outcome) -> None:
        if not outcome.ok:
            self._ended(f"⚠ {outcome.text}")
            return
        try:
            result = BeforeAfter.from_parts(outcome.value, outcome.arrays)
        except MoedeskError as error:
            self._ended(f"⚠ {error}")
            return
        self.show_result(result)

    def _ended(self, line: str) -> None:
        self._cancel = None
        self.set_running(False)
        self.line.setText(line)

    def show_result(self, result: BeforeAfter) -> None:
        """Show what the two runs gave."""
        self.result = result
        titles = "; ".join(result.overrides) or "no override was on"
        taken = "its passes are recorded" if self._recorded else "its passes are not recorded"
        self._ended(" · ".join((summary(result), taken, *result.notes, titles)))
        self.texts.set_texts(*written(result))
        self.tokens.rows.set_result(result)
        with QSignalBlocker(self.layer):
            self.layer.clear()
            for layer in self._session.store.model.layers[: len(result.counts_before)]:
                self.layer.addItem(layer_text(result, layer))
                self.layer.setItemData(layer.place, layer.path, Qt.ItemDataRole.ToolTipRole)
            self.layer.setCurrentIndex(most_moved(result))
        self._show_load()
        self._pages.setCurrentWidget(self.splitter)

    def _show_load(self) -> None:
        if self.result is not None:
            self.load.set_pair(load_pair(self.result, max(self.layer.currentIndex(), 0)))

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.texts.set_theme(theme)
        self.tokens.set_theme(theme)
        self.load.theme = theme
        self.load.update()

    def save_state(self) -> dict[str, object]:
        """Return what is typed, and sizes."""
        return {
            "text": self.text.text(),
            "new_tokens": self.new_tokens.value(),
            "record": self.record.isChecked(),
            "sizes": self.splitter.sizes(),
        }

    def restore_state(self, state: dict[str, object]) -> None:
        """Take over what ``save_state`` returned; what doesn't fit is left as it is."""
        text, new_tokens, sizes = (state.get(name) for name in ("text", "new_tokens", "sizes"))
        if isinstance(text, str):
            self.text.setText(text)
        if isinstance(new_tokens, int):
            self.new_tokens.setValue(new_tokens)
        self.record.setChecked(state.get("record") is True)
        if isinstance(sizes, list) and len(sizes) == 3 and all(isinstance(size, int) for size in sizes) and any(sizes):
            self.splitter.setSizes(sizes)
