"""The Audits panel: run an audit, its scores, the list of findings, and one finding in full beside it."""

from pathlib import Path
from typing import Any

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import QFileDialog, QLabel, QMenu, QPushButton, QSplitter, QStackedLayout, QVBoxLayout, QWidget

from moedesk.analysis.audit_html import as_html
from moedesk.core.errors import MoedeskError
from moedesk.core.filter import parse
from moedesk.core.selection import NOTHING
from moedesk.panels.audits import model as texts
from moedesk.panels.audits.model import Audited, run_audit
from moedesk.panels.audits.model_evidence import evidence_lines
from moedesk.panels.audits.model_findings import COLUMNS, Column, Entry, Quiet, grouped, quiet_groups, with_entries
from moedesk.panels.audits.model_scores import scores_of
from moedesk.panels.audits.model_targets import Target, doors, selection_of, target_of
from moedesk.panels.audits.model_text import as_json, as_text, finding_text
from moedesk.panels.audits.spec import SPEC
from moedesk.panels.audits.view_bar import AuditBar
from moedesk.panels.audits.view_details import Details
from moedesk.panels.audits.view_filters import Filters
from moedesk.panels.audits.view_list import FindingsList
from moedesk.panels.audits.view_scores import ScoresView
from moedesk.session.jobs import Ticket
from moedesk.session.session import Session
from moedesk.ui.break_menu import add_break_actions
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.override_menu import add_override_actions
from moedesk.ui.panel import Panel, Shell
from moedesk.ui.reveal import add_reveal_actions
from moedesk.ui.theme import Theme

KEY = f"{SPEC.id}/audit"


class AuditsPanel(Panel):
    """What is wrong with the routing of a capture or of a running model."""

    def __init__(self, session: Session, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(session, shell, parent)
        self.audited: Audited | None = None
        self.entries: tuple[Entry, ...] = ()
        self._running: Ticket | None = None
        self._asked_once = False
        self._said = ""  # what became of the audit, while that is not to be seen
        self._sort: tuple[Column, bool] = ("severity", False)
        self.bar = AuditBar()
        self.scores = ScoresView()
        self.filters = Filters()
        self.left_out = ElidedLabel()
        self.list = FindingsList()
        self.no_match = QLabel(self.list)
        self.details = Details()
        self.empty = QLabel()
        self.start_button = QPushButton("Run audit")
        self._lay_out()
        self._connect()
        self.set_theme(shell.theme)

    def _lay_out(self) -> None:
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.splitter.addWidget(self.list)
        self.splitter.addWidget(self.details)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setSizes([600, 400])
        for place, stretch in enumerate((3, 2)):
            self.splitter.setStretchFactor(place, stretch)
        self.left_out.setContentsMargins(8, 0, 8, 0)
        self._content = QWidget()
        column = QVBoxLayout(self._content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for part in (self.scores, self.left_out, self.filters):
            column.addWidget(part)
        column.addWidget(self.splitter, 1)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.empty.setWordWrap(True)
        self.empty.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        blank = QWidget()
        middle = QVBoxLayout(blank)
        middle.addStretch(1)
        middle.addWidget(self.empty)
        middle.addWidget(self.start_button, 0, Qt.AlignmentFlag.AlignCenter)
        middle.addStretch(1)
        self._blank = blank
        self._pages = QStackedLayout()
        self._pages.addWidget(self._content)
        self._pages.addWidget(blank)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(self.bar)
        whole.addLayout(self._pages, 1)
        self.no_match.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.no_match.setWordWrap(True)
        self.no_match.hide()
        QVBoxLayout(self.list.viewport()).addWidget(self.no_match)

    def _connect(self) -> None:
        self.bar.run_asked.connect(self.run)
        self.start_button.clicked.connect(self.run)
        self.bar.cancel_asked.connect(self.cancel)
        self.bar.copy_asked.connect(self.copy)
        self.bar.save_asked.connect(self.ask_save)
        self.scores.chosen.connect(self._choose_category)
        self.filters.changed.connect(self._show_list)
        self.list.picked.connect(self._pick)
        self.list.opened.connect(self._open_entry)
        self.list.menu_asked.connect(self._menu)
        self.list.sort_asked.connect(self._sort_by)
        self.details.opened.connect(self.open_target)
        for keys, action in (("F5", self.run), ("Escape", self._escape), ("Ctrl+C", self._copy_finding)):
            shortcut = QShortcut(QKeySequence(keys), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(action)

    def refresh(self, changed: frozenset[str]) -> None:
        """Take over what changed in the session; a capture is audited when it is first shown, a live session when asked."""
        session = self.session
        if "store" in changed and not self._asked_once and session.live is None and not self._why_empty():
            self.run()
        if changed & {"store", "live"}:
            self._show_state()
        if "selection" in changed:
            self.list.show_selection(session.selection)

    # Running

    def run(self) -> None:
        """Audit what there is now."""
        if self._why_empty() or self._running is not None:
            return
        self._asked_once = True
        store = self.session.store
        self.bar.set_running(True)
        self._running = self.session.long_jobs.latest(
            KEY, lambda ticket: with_entries(run_audit(store, ticket)), self._done, self._failed, self._progress
        )
        self._said = "Auditing …"
        self._show_state()

    def cancel(self) -> None:
        """Stop the audit; what an earlier one found stays."""
        if self._running is not None:
            self._running.cancel()
            self._ended(f"Cancelled at {self.bar.progress.value()} %")

    def _progress(self, share: float) -> None:
        self.bar.set_progress(share)

    def _failed(self, error: Exception) -> None:
        said = str(error) if isinstance(error, (MoedeskError, OSError)) else f"{type(error).__name__}: {error}"
        self._ended(f"The audit failed: {said}")

    def _done(self, answer: tuple[Audited, tuple[Entry, ...]]) -> None:
        self.audited, self.entries = audited, _ = answer
        self.scores.set_scores(scores_of(audited.report))
        lines = texts.left_out(audited)
        self.left_out.setText("Left out: " + " · ".join(lines) if lines else "")
        self.left_out.setVisible(bool(lines))
        self.filters.set_entries(self.entries)
        self._ended("")
        self._show_list()

    def _ended(self, why: str) -> None:
        self._running = None
        self.bar.set_running(False)
        self._said = why
        self._show_state()

    def _why_empty(self) -> str:
        return texts.empty_text(self.session.store.model, self.session.store.n_passes)

    def _show_state(self) -> None:
        """Show which of empty, ready, running, failed, cancelled and done it is."""
        audited, passes = self.audited, self.session.store.n_passes
        why = self._why_empty()
        running = self._running is not None
        self.bar.setVisible(not why)
        self.bar.run_button.setText(texts.run_label(audited, passes))
        self.bar.set_report(audited is not None)
        parts = [self._said, "" if audited is None else texts.summary(audited)]
        self.bar.line.setText(" · ".join(part for part in parts if part))
        self._pages.setCurrentWidget(self._content if audited is not None else self._blank)
        self.start_button.setVisible(not why and not running)
        self.start_button.setText("Try again" if self._asked_once else "Run audit")
        self.empty.setText(why or self._said or texts.READY)

    # The list

    def _show_list(self) -> None:
        criteria = self.filters.criteria
        shown = [entry for entry in self.entries if criteria.takes(entry)]
        outcomes = self.audited.report.outcomes if self.audited is not None else ()
        groups = (*grouped(shown, self.filters.grouping, *self._sort), *quiet_groups(outcomes, criteria))
        self.list.set_groups(groups)
        self.scores.set_category(criteria.category)
        self.no_match.setVisible(not groups)
        if not groups:
            self.no_match.setText(texts.nothing_text(len(self.entries)))
        if self.list.current is None:
            self._show_details(self.list.show_first())

    def _choose_category(self, category: str) -> None:
        self.filters.set_category(category)
        self.scores.set_category(category)

    def _sort_by(self, column: Column, descending: bool) -> None:
        self._sort = column, descending
        self._show_list()

    def _pick(self, row: Entry | Quiet | None) -> None:
        self._show_details(row)
        selection = selection_of(row.place, row.finding.expert) if isinstance(row, Entry) else NOTHING
        if selection != NOTHING:
            self.session.select(selection)

    def _show_details(self, row: Entry | Quiet | None) -> None:
        if isinstance(row, Entry) and self.audited is not None:
            panels = {spec.id: spec.title for spec in self._panels(row)}
            self.details.show_row(row, evidence_lines(row.finding, self.audited.model), panels, self._doors(row))
        else:
            self.details.show_row(row)

    def _panels(self, entry: Entry) -> list[Any]:
        target = self._target(entry)
        kind = target.selection.kind if target is not None else NOTHING.kind
        return [spec for spec in self.shell.panels_for(kind) if spec.id != SPEC.id]

    def _target(self, entry: Entry) -> Target | None:
        return target_of(entry.finding, self.audited.model) if self.audited is not None else None

    def _doors(self, entry: Entry) -> list[Target]:
        return doors(self._target(entry), self._panels(entry))

    def _open_entry(self, entry: Entry) -> None:
        found = self._doors(entry)
        if found:
            self.open_target(found[0])
        else:
            self.shell.say("This finding is about the capture as a whole; no panel shows it")

    def open_target(self, target: Target) -> None:
        """Show evidence in the panel that shows it; its filter and brush say in the status bar how to get rid of them."""
        session = self.session
        if target.selection != NOTHING:
            session.select(target.selection)
        if target.passes is not None:
            session.brush(target.passes)
        if target.filter:
            session.set_filter(parse(target.filter))
            self.shell.say(f"The filter is now: {target.filter} (Esc in the filter line of Network clears it)")
        self.shell.reveal(session.selection, target.panel)

    def _menu(self, entry: Entry, position: QPoint) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.fill_menu(menu, entry)
        menu.popup(position)

    def fill_menu(self, menu: QMenu, entry: Entry) -> None:
        """Fill a context menu for a finding."""
        menu.addAction("Copy this finding as text", self._copy_finding)
        menu.addAction("Copy the audit as text", lambda: self.copy("text"))
        menu.addAction("Copy the audit as JSON", lambda: self.copy("json"))
        selection = selection_of(entry.place, entry.finding.expert)
        add_override_actions(menu, selection, self.session, self.shell)
        add_break_actions(menu, selection, self.session, self.shell)
        add_reveal_actions(menu, selection, self.session, self.shell, SPEC.id)

    # Out of the panel

    def copy(self, form: str) -> None:
        """Put the whole audit on the clipboard as ``text`` or ``json``."""
        if self.audited is not None:
            text = as_json(self.audited) if form == "json" else as_text(self.audited, self.entries)
            QGuiApplication.clipboard().setText(text)
            self.shell.say(
                f"Copied the audit, {len(self.entries):,} findings, as {'JSON' if form == 'json' else 'text'}."
            )

    def _copy_finding(self) -> None:
        entry = self.list.current
        if entry is not None and self.audited is not None:
            QGuiApplication.clipboard().setText(finding_text(self.audited, entry) + "\n")
            self.shell.say("Copied the finding.")

    def ask_save(self) -> None:
        """Ask for a file, and save the whole audit there."""
        audited = self.audited
        if audited is None:
            return
        start = Path(audited.name).with_suffix(".audit.html").name
        folder = self.session.path.parent if self.session.path is not None else Path.home()
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the audit", str(folder / start), "Web page (*.html);;JSON (*.json);;Text (*.txt)"
        )
        if name:
            self.save_to(Path(name))

    def save_to(self, path: Path) -> None:
        """Save the whole audit: as a page, or as text, where the name ends in ``.html`` or ``.txt``; else as JSON."""
        if self.audited is None:
            return
        audited = self.audited
        match path.suffix:
            case ".html":
                text = as_html(audited.name, audited.report)
            case ".txt":
                text = as_text(audited, self.entries)
            case _:
                text = as_json(audited)
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            self.shell.say(f"{path.name} was not saved: {error.strerror}; choose another folder")
            return
        self.shell.say(f"Saved the audit to {path}")

    # The shell

    def _escape(self) -> None:
        if self._running is not None:
            self.cancel()
        else:
            self.filters.clear()

    def focus_find(self) -> None:
        """Put the keyboard into the filter line."""
        self.filters.text.setFocus()
        self.filters.text.selectAll()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        for part in (self.bar, self.scores, self.filters, self.list, self.details):
            part.set_theme(theme)

    def save_state(self) -> dict[str, object]:
        """Return grouping, order and sizes."""
        return {"sizes": self.splitter.sizes(), "group": self.filters.grouping, "sort": list(self._sort)}

    def restore_state(self, state: dict[str, object]) -> None:
        """Take over what ``save_state`` returned; what doesn't fit is left as it is."""
        sizes: Any = state.get("sizes")
        if isinstance(sizes, list) and len(sizes) == 2 and all(isinstance(size, int) for size in sizes) and any(sizes):
            self.splitter.setSizes(sizes)
        self.filters.set_grouping(str(state.get("group")))
        sort: Any = state.get("sort")
        if isinstance(sort, list) and len(sort) == 2 and sort[0] in COLUMNS and isinstance(sort[1], bool):
            self._sort = sort[0], sort[1]
            self.list.show_sorted(*self._sort)
