"""One finding in full: where, how sure, the numbers behind it, the threshold, what to do, and where to see it."""

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QMenu,
    QScrollArea,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from moedesk.panels.audits.model_evidence import Line, percent
from moedesk.panels.audits.model_findings import WORDS, Entry, Quiet
from moedesk.panels.audits.model_scores import category_title
from moedesk.panels.audits.model_targets import Target
from moedesk.panels.audits.view_list_model import ROLES
from moedesk.ui.icons import icon
from moedesk.ui.row_table import RowTable
from moedesk.ui.theme import LIGHT, Theme

NOTHING_CHOSEN = "Choose a finding to see the numbers behind it and what to do."


class EvidenceTable(RowTable):
    """The numbers behind a finding.

    Signals
    -------
    opened : Target
        A click or Enter on a number that a panel shows.
    """

    opened = Signal(object)

    def __init__(self) -> None:
        super().__init__("Evidence", 3)
        self._lines: list[Line] = []
        self.setHorizontalHeaderLabels(["Evidence", "Value", "Unit"])
        self.setWordWrap(True)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = self.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        self.cellClicked.connect(lambda row, _: self._open(row))

    def set_lines(self, lines: list[Line], panels: dict[str, str], theme: Theme) -> None:
        """Show other numbers.

        Parameters
        ----------
        panels : dict of str to str
            Titles of panels by their id.
        """
        self._lines = lines
        self.setRowCount(len(lines))
        for row, line in enumerate(lines):
            opens = panels.get(line.target.panel, "") if line.target is not None else ""
            for column, text in enumerate((line.name, line.value, line.unit)):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{text}\nClick to see it in {opens}" if opens else text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
                if column == 2:
                    item.setForeground(theme.color("muted"))
                elif column == 1 and opens:
                    item.setForeground(theme.color("accent"))
                    font = self.font()
                    font.setUnderline(True)
                    item.setFont(font)
                self.setItem(row, column, item)
        self._fit()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return room for every row: the details around it scroll."""
        rows = sum(self.rowHeight(row) for row in range(self.rowCount()))
        return QSize(200, rows + self.horizontalHeader().sizeHint().height() + 4)

    def resizeEvent(self, event) -> None:  # type: ignore[no-untyped-def]  # noqa: N802
        """Give rows the height that their texts need at this width."""
        super().resizeEvent(event)
        self._fit()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Open with Enter."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentRow() >= 0:
            self._open(self.currentRow())
        else:
            super().keyPressEvent(event)

    def _fit(self) -> None:
        width = self.viewport().width()
        self.setColumnWidth(0, int(width * 0.36))
        self.setColumnWidth(1, int(width * 0.26))
        self.resizeRowsToContents()
        for row in range(self.rowCount()):
            self.setRowHeight(row, self.rowHeight(row) + 6)
        self.setFixedHeight(self.sizeHint().height())

    def _open(self, row: int) -> None:
        if 0 <= row < len(self._lines) and self._lines[row].target is not None:
            self.opened.emit(self._lines[row].target)


class Details(QScrollArea):
    """Shows one finding.

    Signals
    -------
    opened : Target
    """

    opened = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._theme: Theme = LIGHT
        self._shown: tuple[Entry | Quiet | None, list[Line], dict[str, str], list[Target]] = (None, [], {}, [])
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.sign = QLabel()
        self.title = _text(bold=True)
        self.meta = _text()
        self.table = EvidenceTable()
        self.threshold_heading, self.threshold = _text("Threshold", bold=True), _text()
        self.advice_heading, self.advice = _text("What to do", bold=True), _text()
        self.hint = _text(NOTHING_CHOSEN)
        self.door = QToolButton()
        self.door.setObjectName("audit_door")
        self.door.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)
        self._others = QMenu(self.door)
        self.door.setMenu(self._others)
        self._lay_out()
        self.table.opened.connect(self.opened)
        self.door.clicked.connect(self._open_best)
        self.show_row(None)

    def _lay_out(self) -> None:
        content = QWidget()
        content.setObjectName("audit_details")
        content.setAutoFillBackground(True)
        column = QVBoxLayout(content)
        column.setContentsMargins(10, 8, 10, 8)
        column.setSpacing(6)
        head = QHBoxLayout()
        head.setSpacing(8)
        head.addWidget(self.sign, 0, Qt.AlignmentFlag.AlignTop)
        head.addWidget(self.title, 1)
        column.addLayout(head)
        column.addWidget(self.meta)
        column.addWidget(self.advice_heading)
        column.addWidget(self.advice)
        column.addWidget(self.door, 0, Qt.AlignmentFlag.AlignLeft)
        column.addWidget(self.table)
        column.addWidget(self.threshold_heading)
        column.addWidget(self.threshold)
        column.addWidget(self.hint)
        column.addStretch(1)
        self.setWidget(content)

    def show_row(
        self,
        row: Entry | Quiet | None,
        lines: list[Line] | None = None,
        panels: dict[str, str] | None = None,
        targets: list[Target] | None = None,
    ) -> None:
        """Show another finding, a check without one, or nothing.

        Parameters
        ----------
        lines : list of Line
            Its evidence.
        panels : dict of str to str
            Titles of panels by their id.
        targets : list of Target
            Where it can be seen, the best place first.
        """
        self._shown = row, lines or [], panels or {}, targets or []
        self._fill()
        self.verticalScrollBar().setValue(0)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self.door.setStyleSheet(
            f"#audit_door {{ background: {theme.raised}; border: 1px solid {theme.border}; padding: 4px 22px 4px 10px; }}"
            f"#audit_door:hover {{ background: {theme.hover}; }} #audit_door:focus {{ border-color: {theme.focus}; }}"
            "#audit_door::menu-button { border: none; width: 18px; }"
        )
        self._fill()

    def _fill(self) -> None:
        row, lines, panels, targets = self._shown
        is_finding = isinstance(row, Entry)
        parts = (
            self.sign,
            self.meta,
            self.table,
            self.threshold_heading,
            self.threshold,
            self.advice_heading,
            self.advice,
        )
        for part in parts:
            part.setVisible(is_finding)
        self.title.setVisible(row is not None)
        self.hint.setVisible(not is_finding)
        if isinstance(row, Entry):
            self._fill_finding(row, lines, panels)
        elif row is not None:
            self.title.setText(row.title)
            self.hint.setText(row.why)
        else:
            self.hint.setText(NOTHING_CHOSEN)
        self._fill_doors(panels, targets)

    def _fill_finding(self, entry: Entry, lines: list[Line], panels: dict[str, str]) -> None:
        finding = entry.finding
        severity = finding.severity
        self.sign.setPixmap(icon(severity, self._theme, ROLES[severity]).pixmap(18, 18))
        self.title.setText(finding.title)
        layer = f" ({finding.layer})" if finding.layer else ""
        self.meta.setText(
            f"{WORDS[severity]} · {category_title(entry.category)} · {entry.where}{layer} · "
            f"confidence {percent(finding.confidence)}"
        )
        self.threshold.setText(finding.threshold_source)
        self.advice.setText(finding.advice)
        self.table.setVisible(bool(lines))
        self.table.set_lines(lines, panels, self._theme)

    def _fill_doors(self, panels: dict[str, str], targets: list[Target]) -> None:
        """Make the button open the best place, and its menu the others."""
        self.door.setVisible(bool(targets))
        self._others.clear()
        if not targets:
            return
        best = targets[0]
        self.door.setText(f"Show in {panels.get(best.panel, best.panel.capitalize())}")
        self.door.setToolTip(best.hint)
        for target in targets:
            action = self._others.addAction(f"Show in {panels.get(target.panel, target.panel.capitalize())}")
            action.setToolTip(target.hint)
            action.triggered.connect(lambda _=False, target=target: self.opened.emit(target))

    def _open_best(self) -> None:
        targets = self._shown[3]
        if targets:
            self.opened.emit(targets[0])


def _text(text: str = "", bold: bool = False) -> QLabel:
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    if bold:
        font = label.font()
        font.setBold(True)
        label.setFont(font)
    return label
