"""What one expert does: its share, and the tokens it sees most."""

from PySide6.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from moedesk.panels.elements.model_expert import ExpertView, label_facts, note, share_facts, why_empty
from moedesk.panels.elements.view_facts import FactForm, text_label
from moedesk.panels.elements.view_tokens import TopTokensTable
from moedesk.ui.theme import Theme


class ExpertSection(QWidget):
    """Shows an ``ExpertView``; None while it is being worked out."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.share = FactForm()
        self.labels_title = QLabel("By label")
        self.labels_title.setToolTip("Share of each label's tokens that goes to this expert, over an even share (k/E)")
        self.labels = FactForm()
        self.title = QLabel("Top tokens")
        self.table = TopTokensTable()
        self.note = text_label("")
        self.note.setProperty("muted", True)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.share)
        column.addWidget(self.labels_title)
        column.addWidget(self.labels)
        column.addWidget(self.title)
        column.addWidget(self.table, 1)
        column.addWidget(self.note)

    def set_view(self, view: ExpertView | None) -> None:
        """Show another expert."""
        filled = view is not None and bool(view.top.tokens)
        self.share.set_facts(share_facts(view) if view is not None else [])
        self.labels.set_facts(label_facts(view) if view is not None else [])
        self.labels_title.setVisible(bool(self.labels.facts))
        self.table.tokens.set_view(view)
        self.table.setVisible(filled)
        self.title.setVisible(filled)
        self.note.setText("Counting …" if view is None else note(view) if filled else why_empty(view))
        self.note.setVisible(bool(self.note.text()))
        upright = QSizePolicy.Policy.Expanding if filled else QSizePolicy.Policy.Maximum
        self.setSizePolicy(QSizePolicy.Policy.Preferred, upright)

    def set_progress(self, share: float) -> None:
        """Say how far the counting has come."""
        self.note.setText(f"Counting … {100 * share:.0f} %")

    def set_failed(self, text: str) -> None:
        """Say why there is nothing."""
        self.set_view(None)
        self.note.setText(text)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.table.tokens.theme = theme
        self.table.viewport().update()
