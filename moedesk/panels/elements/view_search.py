"""The search field over the tree: what it finds, which match it stands on, next and previous."""

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QWidget

from moedesk.panels.elements.model_search import Matches, SearchIndex
from moedesk.panels.elements.model_tree import NO_NODE
from moedesk.panels.elements.view_button import flat_button
from moedesk.ui.icons import icon
from moedesk.ui.theme import Theme


class SearchField(QWidget):
    """Finds nodes. Enter goes to the next match, Shift+Enter to the one before.

    ``picked`` names the node to go to, ``found`` the first match while typing (to scroll to), or -1.
    """

    picked = Signal(int)
    found = Signal(int)
    left = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._index: SearchIndex | None = None
        self._matches = Matches()
        self._place = -1
        self.field = QLineEdit(placeholderText="Find by path or class", clearButtonEnabled=True)
        self.field.setToolTip(
            "Find modules and experts by path or class (Ctrl+F). Enter: next match, Shift+Enter: previous"
        )
        self.field.setAccessibleName("Find in the module tree")
        self.count = QLabel()
        self.previous = flat_button("Previous match (Shift+Enter)")
        self.next = flat_button("Next match (Enter)")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        row.addWidget(self.field, 1)
        for widget in (self.count, self.previous, self.next):
            row.addWidget(widget)
        self.field.textChanged.connect(self._search)
        self.field.installEventFilter(self)
        self.previous.clicked.connect(lambda: self._step(forward=False))
        self.next.clicked.connect(lambda: self._step(forward=True))
        self._show_count()

    def set_index(self, index: SearchIndex) -> None:
        """Search another tree."""
        self._index = index
        self._search(self.field.text())

    def set_current(self, node: int) -> None:
        """Say from which node next and previous go on."""
        self._place = self._index.place.get(node, -1) if self._index is not None else -1
        self._show_count()

    def set_theme(self, theme: Theme) -> None:
        """Redraw the icons."""
        self.previous.setIcon(icon("up", theme))
        self.next.setIcon(icon("down", theme))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Take Enter and Escape from the field."""
        if watched is self.field and event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._step(forward=not event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
                return True
            if event.key() == Qt.Key.Key_Escape and self.field.text():
                self.field.clear()
                return True
            if event.key() == Qt.Key.Key_Down:
                self.left.emit()
                return True
        return super().eventFilter(watched, event)

    def _search(self, text: str) -> None:
        self._matches = self._index.find(text) if self._index is not None else Matches()
        self._show_count()
        on_match = self._matches.at(self._place) >= 0
        first = self._matches.after(self._place)
        if first >= 0 and not on_match:
            self.found.emit(self._matches.nodes[first])

    def _step(self, forward: bool) -> None:
        number = self._matches.after(self._place) if forward else self._matches.before(self._place)
        if number != NO_NODE:
            self.picked.emit(self._matches.nodes[number])

    def _show_count(self) -> None:
        self.count.setText(self._matches.count_text(self._place))
        self.count.setVisible(bool(self._matches.text))
        for button in (self.previous, self.next):
            button.setVisible(bool(self._matches.text))
            button.setEnabled(len(self._matches) > 0)
