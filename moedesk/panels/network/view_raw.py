"""The Raw tab: ids and weights of what is selected, as text to copy."""

from dataclasses import replace

from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit, QToolButton, QVBoxLayout, QWidget

from moedesk.panels.network.copying import copy_as, subject_of
from moedesk.panels.network.model_copy import Extract, Subject, as_text, extract
from moedesk.session.session import Session
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.paced_question import PacedQuestion
from moedesk.ui.panel import Shell
from moedesk.ui.theme import Theme

REFRESHED = 1000
"""Rows of a text that is written anew when passes come."""


class RawTab(QWidget):
    """Asks for the rows of what is selected and shows them."""

    def __init__(self, session: Session, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._subject: Subject | None = None
        self._shown_rows = 0
        self._rows = PacedQuestion(session, "network.raw", self, rest=0.5)
        self.title = ElidedLabel()
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setAccessibleName("Rows of what is selected")
        line = QHBoxLayout()
        line.setContentsMargins(6, 4, 6, 0)
        line.addWidget(self.title, 1)
        for form, title in (("python", "Python"), ("csv", "CSV"), ("json", "JSON")):
            button = QToolButton()
            button.setText(title)
            button.setToolTip(f"Copy as {title}")
            button.clicked.connect(lambda _=False, form=form: self._copy(shell, form))
            line.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(line)
        column.addWidget(self.text, 1)

    def refresh(self, layer: int) -> None:
        """Show what is selected now; for a pass, its routing at ``layer``."""
        session = self._session
        if not session.store.n_passes or not session.store.model.layers:
            self._subject = None
            self.title.setText("Nothing to show yet")
            self.text.setPlainText("")
            return
        subject = subject_of(session, session.selection, layer)
        if subject == self._subject:
            return
        grown = self._subject is not None and replace(self._subject, span=subject.span) == subject
        if grown and session.live is not None and session.window is None and self._shown_rows > REFRESHED:
            return  # a long text stays as it is while passes come; its title says up to which
        self._subject = subject
        store = session.store
        self._rows.ask(lambda _: extract(store, subject), self._show, self._fail, urgent=not grown)

    def _show(self, table: Extract) -> None:
        self._shown_rows = len(table.rows)
        cut = f" (the first {len(table.rows):,} rows)" if table.cut else ""
        self.title.setText(f"{table.title[:1].upper()}{table.title[1:]}{cut}")
        self.text.setPlainText(as_text(table))

    def _fail(self, error: Exception) -> None:
        self.title.setText(f"This could not be read: {error}")

    def _copy(self, shell: Shell, form: str) -> None:
        if self._subject is not None:
            copy_as(self._session, shell, self._subject, form)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.text.setFont(theme.mono_font)
        self.text.setTabStopDistance(self.text.fontMetrics().horizontalAdvance("M") * 10)
