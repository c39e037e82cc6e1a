"""The verdict: word, icon, reason, numbers, and the evidence that it rests on."""

from html import escape

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QListWidget, QListWidgetItem, QSizePolicy, QVBoxLayout, QWidget

from moedesk.panels.compare.model import VERDICTS, Comparison, numbers
from moedesk.ui.icons import icon
from moedesk.ui.theme import LIGHT, Theme

_LINES = 3
_ROLES = {"success": "success", "info": "accent", "warning": "warning"}


class VerdictView(QWidget):
    """Shows a judgement; ``picked`` names the path (in A) of a layer whose evidence was clicked."""

    picked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._comparison: Comparison | None = None
        self._theme: Theme = LIGHT
        self.sign = QLabel()
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.numbers = QWidget()
        self._tiles = QHBoxLayout(self.numbers)
        self._tiles.setContentsMargins(0, 0, 0, 0)
        self._tiles.setSpacing(14)
        self.evidence = QListWidget()
        self.evidence.setAccessibleName("Evidence for the verdict")
        self.evidence.setToolTip("Click to choose the layer")
        self.evidence.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.evidence.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.evidence.itemClicked.connect(self._pick)
        self.evidence.itemActivated.connect(self._pick)
        top = QHBoxLayout()
        top.setSpacing(8)
        top.addWidget(self.sign, 0, Qt.AlignmentFlag.AlignTop)
        top.addWidget(self.text, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 4, 8, 4)
        column.setSpacing(4)
        column.addLayout(top)
        column.addWidget(self.numbers)
        column.addWidget(self.evidence)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    def set_comparison(self, comparison: Comparison | None) -> None:
        """Show another judgement, or none."""
        self._comparison = comparison
        self._draw()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self._draw()

    def _draw(self) -> None:
        self.setVisible(self._comparison is not None)
        if self._comparison is None:
            return
        found = self._comparison.found
        judgement = found.judgement
        name, word = VERDICTS[judgement.verdict]
        role = _ROLES[name]
        self.sign.setPixmap(icon(name, self._theme, role).pixmap(QSize(20, 20)))
        self.sign.setAccessibleName(word)
        color, muted = getattr(self._theme, role), self._theme.muted
        overridden = f"<br><span style='color:{self._theme.warning}'>⚠ {escape(found.overridden)}</span>"
        self.text.setText(
            f"<b style='color:{color}'>{word}</b> &nbsp;{escape(judgement.reason)}"
            f" <span style='color:{muted}'>· measured by {escape(judgement.precision)}</span>"
            + (overridden if found.overridden else "")
        )
        self._draw_numbers()
        self.evidence.clear()
        for one in judgement.evidence:
            item = QListWidgetItem(f"{one.layer}: {one.what}")
            item.setData(Qt.ItemDataRole.UserRole, one.layer)
            item.setToolTip("\n".join([item.text(), *(f"{key}: {value:.4g}" for key, value in one.numbers.items())]))
            self.evidence.addItem(item)
        lines = min(_LINES, len(judgement.evidence))
        self.evidence.setVisible(lines > 0)
        self.evidence.setFixedHeight(lines * max(self.evidence.sizeHintForRow(0), 1) + 2 * self.evidence.frameWidth())

    def _draw_numbers(self) -> None:
        assert self._comparison is not None
        while (item := self._tiles.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        for number in numbers(self._comparison.found):
            label = QLabel(f"<span style='color:{self._theme.muted}'>{number.name}</span><br>{escape(number.value)}")
            label.setToolTip(number.convention)
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            self._tiles.addWidget(label, 1)

    def _pick(self, item: QListWidgetItem) -> None:
        self.picked.emit(item.data(Qt.ItemDataRole.UserRole))
