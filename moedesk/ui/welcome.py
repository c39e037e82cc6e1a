"""The page shown while nothing is open: what moedesk is, and the ways in."""

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from moedesk.session.recent import RecentFiles
from moedesk.ui.icons import icon
from moedesk.ui.theme import Theme

SNIPPET = """import moedesk

with moedesk.record(model, "run.h5", tokenizer=tokenizer):
    model.generate(**inputs)"""

_ABOUT = (
    "See which experts every token of a Mixture-of-Experts model goes to, why, and what is wrong with it. "
    "Record any Hugging Face model into a capture; open, replay and inspect it here, with no model and no GPU at hand."
)
_SHOWN_RECENT = 6
_WIDTH = 640


class Welcome(QScrollArea):
    """Ways in: the sample, a file, recent files, a snippet that records."""

    def __init__(self, recent: RecentFiles, open_path: Callable[[Path], None], run: Callable[[str], None]) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self._recent = recent
        self._open_path = open_path
        page = QWidget()
        outer = QHBoxLayout(page)
        column = QWidget()
        column.setMaximumWidth(_WIDTH)
        outer.addStretch(1)
        outer.addWidget(column, 8)
        outer.addStretch(1)
        self._column = QVBoxLayout(column)
        self._column.setSpacing(10)
        self._column.addStretch(1)
        self._add_heading()
        self._add_buttons(run)
        self._add_recent()
        self._add_snippet()
        self._column.addStretch(2)
        self.setWidget(page)
        self.refresh()

    def refresh(self) -> None:
        """Show the recent files anew."""
        while (item := self._list.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        paths = self._recent.paths[:_SHOWN_RECENT]
        self._recent_title.setVisible(bool(paths))
        for row, path in enumerate(paths):
            link = QPushButton(path.name)
            link.setObjectName("recent_file")
            link.setFlat(True)
            link.setCursor(Qt.CursorShape.PointingHandCursor)
            link.setToolTip(str(path))
            link.clicked.connect(lambda _=False, path=path: self._open_path(path))
            folder = _Elided(str(path.parent))
            self._list.addWidget(link, row, 0)
            self._list.addWidget(folder, row, 1)
        self._list.setColumnStretch(1, 1)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._logo.setPixmap(icon("moedesk", theme).pixmap(64, 64))
        self._sample.setIcon(icon("sample", theme, "accent_text"))
        self._open.setIcon(icon("open", theme))
        self._live.setIcon(icon("play", theme))
        self._copy.setIcon(icon("copy", theme))
        self._code.setFont(theme.mono_font)
        lines = self._code.fontMetrics().lineSpacing() * (SNIPPET.count("\n") + 1)
        self._code.setFixedHeight(lines + 24)
        self.setStyleSheet(
            f"QLabel#title {{ font-size: 22pt; font-weight: 600; }} QLabel#muted {{ color: {theme.muted}; }}"
            f"QLabel#section {{ font-weight: 600; margin-top: 10px; }}"
            f"QPlainTextEdit {{ background: {theme.surface}; border: 1px solid {theme.border}; border-radius: 4px; }}"
            f"QPushButton#recent_file {{ color: {theme.accent}; border: 1px solid transparent; background: transparent;"
            f" padding: 2px 4px; text-align: left; }}"
            f"QPushButton#recent_file:hover {{ background: {theme.hover}; }}"
            f"QPushButton#recent_file:focus {{ border-color: {theme.focus}; }}"
            f"QFrame#drop {{ border: 1px dashed {theme.muted}; border-radius: 6px; }}"
        )

    def _add_heading(self) -> None:
        self._logo = QLabel()
        title = QLabel("moedesk")
        title.setObjectName("title")
        tagline = QLabel("DevTools for Mixture-of-Experts models")
        tagline.setObjectName("muted")
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addWidget(title)
        words.addWidget(tagline)
        row = QHBoxLayout()
        row.setSpacing(14)
        row.addWidget(self._logo)
        row.addLayout(words, 1)
        self._column.addLayout(row)
        about = QLabel(_ABOUT)
        about.setWordWrap(True)
        self._column.addWidget(about)

    def _add_buttons(self, run: Callable[[str], None]) -> None:
        self._sample = QPushButton("Open the sample")
        self._sample.setDefault(True)
        self._sample.setToolTip("A capture of a small trained model: 6 layers of 16 experts, top-2")
        self._sample.clicked.connect(lambda: run("file.sample"))
        self._open = QPushButton("Open a capture…")
        self._open.clicked.connect(lambda: run("file.open"))
        self._live = QPushButton("Run a model live")
        self._live.setToolTip("Starts a Python kernel with a console: load a model, attach it, run it and watch")
        self._live.clicked.connect(lambda: run("kernel.start"))
        row = QHBoxLayout()
        for button in (self._sample, self._open, self._live):
            button.setIconSize(QSize(16, 16))
            row.addWidget(button)
        row.addStretch()
        self._column.addLayout(row)
        drop = QFrame()
        drop.setObjectName("drop")
        hint = QLabel("or drop .h5 captures anywhere in this window")
        hint.setObjectName("muted")
        hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        hint.setMinimumHeight(hint.fontMetrics().height() * 3)
        inside = QVBoxLayout(drop)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(hint)
        self._column.addWidget(drop)

    def _add_recent(self) -> None:
        self._recent_title = _section("Recent files")
        self._column.addWidget(self._recent_title)
        self._list = QGridLayout()
        self._list.setSpacing(0)
        self._list.setHorizontalSpacing(12)
        self._column.addLayout(self._list)

    def _add_snippet(self) -> None:
        self._copy = QPushButton("Copy")
        self._copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(SNIPPET))
        row = QHBoxLayout()
        row.addWidget(_section("Record your own model, in any script or notebook"), 1)
        row.addWidget(self._copy)
        self._column.addLayout(row)
        self._code = QPlainTextEdit(SNIPPET)
        self._code.setReadOnly(True)
        self._code.setTabChangesFocus(True)
        self._code.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._code.setAccessibleName("Code that records a model")
        self._column.addWidget(self._code)
        other = QLabel("Or record a whole script: moedesk record script.py -o run.h5 -- its arguments")
        other.setObjectName("muted")
        other.setWordWrap(True)
        other.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._column.addWidget(other)


def _section(text: str) -> QLabel:
    label = QLabel(text)
    label.setObjectName("section")
    return label


class _Elided(QLabel):
    """A folder, shortened in the middle where it doesn't fit."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.setObjectName("muted")
        self.setMinimumWidth(40)
        self.setToolTip(text)
        self._full = text

    def resizeEvent(self, event: object) -> None:  # noqa: N802
        """Shorten to the new width."""
        self.setText(self.fontMetrics().elidedText(self._full, Qt.TextElideMode.ElideMiddle, self.width()))
