"""The Overrides panel: the list with its form, and what the overrides do to a text."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QCursor, QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import QFileDialog, QLabel, QMenu, QStackedLayout, QTabWidget, QVBoxLayout, QWidget

from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override
from moedesk.core.override_code import as_python
from moedesk.core.override_file import Kept, load, save
from moedesk.core.selection import Kind, Selection
from moedesk.panels.overrides.model_rows import counted, heading, recorded_heading, recorded_text
from moedesk.panels.overrides.spec import SPEC
from moedesk.panels.overrides.view_bar import OverridesBar
from moedesk.panels.overrides.view_before_after import BeforeAfterTab
from moedesk.panels.overrides.view_form import OverrideForm
from moedesk.panels.overrides.view_list import OverridesList
from moedesk.session.overriding import TOPIC, Entry
from moedesk.session.session import Session
from moedesk.ui.panel import Panel, Shell
from moedesk.ui.reveal import add_reveal_actions
from moedesk.ui.theme import Theme

WHAT = (
    "Overrides change the routing of a running model: ablate, exclude, force, bias, scale or swap experts, "
    "set k, temperature or capacity, replay a capture."
)
HOW = 'In the console (Ctrl+`):\n\nmoe.load("sample")\nmoe.attach()'
NO_MODEL = f"{WHAT}\n\nNo model is attached. {HOW}"
A_FILE = f"This is a capture: its model doesn't run here, so nothing can be overridden. To do so, attach one. {HOW}"
NO_OVERRIDES = (
    "No overrides: the model routes as it was trained to.\n\n"
    "Add one above, from the context menu of an expert, a layer or a token in any panel,\n"
    "or in the console: moe.ablate(3, 7)"
)


class OverridesPanel(Panel):
    """What is changed about the routing of a running model."""

    def __init__(self, session: Session, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(session, shell, parent)
        self.overriding = session.overriding
        self.entries: tuple[Entry, ...] = ()
        self.bar = OverridesBar()
        self.form = OverrideForm(lambda override: self.overriding.check(override))
        self.note = QLabel()
        self.list = OverridesList()
        self.empty = QLabel()
        self.runs = BeforeAfterTab(session)
        self.tabs = QTabWidget()
        self._lay_out()
        self._connect()
        self.set_theme(shell.theme)

    def _lay_out(self) -> None:
        self.note.setWordWrap(True)
        self.note.setContentsMargins(8, 0, 8, 4)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.empty.setWordWrap(True)
        for label in (self.note, self.empty):
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.empty.setMargin(12)
        listed = QWidget()
        self._pages = QStackedLayout()
        self._pages.addWidget(self.list)
        self._pages.addWidget(self.empty)
        for holder, parts in ((listed, (self.bar, self.note, self.form)), (self, (self.tabs,))):
            column = QVBoxLayout(holder)
            column.setContentsMargins(0, 0, 0, 0)
            column.setSpacing(0)
            for part in parts:
                column.addWidget(part)
            if holder is listed:
                column.addLayout(self._pages, 1)
        self.tabs.setDocumentMode(True)
        self.tabs.addTab(listed, "Overrides")
        self.tabs.addTab(self.runs, "Before / after")
        self.tabs.setTabToolTip(1, "A text without the overrides and with them, side by side")
        self.form.hide()

    def _connect(self) -> None:
        self.bar.add_asked.connect(lambda: self.open_form())
        self.bar.undo_asked.connect(self.overriding.undo)
        self.bar.redo_asked.connect(self.overriding.redo)
        self.bar.clear_asked.connect(self.overriding.clear)
        self.bar.save_asked.connect(self.ask_save)
        self.bar.load_asked.connect(self.ask_load)
        self.bar.copy_asked.connect(self.copy)
        self.bar.apply_asked.connect(lambda: self.apply(self.entries))
        self.form.accepted.connect(self._accepted)
        self.form.closed.connect(self.close_form)
        self.list.rows.switched.connect(lambda entry, on: self.overriding.switch(entry.id, on))
        self.list.rows.renamed.connect(self._rename)
        self.list.change_asked.connect(self._change)
        self.list.remove_asked.connect(self._remove)
        self.list.menu_asked.connect(self._menu)
        for keys, action in (
            ("Ctrl+Z", self.overriding.undo),
            ("Ctrl+Shift+Z", self.overriding.redo),
            ("Ctrl+Y", self.overriding.redo),
            ("Escape", self.close_form),
        ):
            shortcut = QShortcut(QKeySequence(keys), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(action)
            if keys == "Escape":
                self._escape = shortcut
        self._escape.setEnabled(False)  # else it would keep the drawer from being closed

    def refresh(self, changed: frozenset[str]) -> None:
        """Take over what changed in the session."""
        if changed & {TOPIC, "live", "store"}:
            self._show()
        if "selection" in changed:
            self.list.show_selection(self.session.selection)

    def _show(self) -> None:
        told, why, recorded = self.overriding.told, self.overriding.why_not, self.overriding.recorded
        self.entries = told.entries or recorded
        self.list.set_entries(self.entries, editable=not why)
        self.bar.setVisible(not why or bool(self.entries))
        if recorded:
            self.bar.show_recorded(recorded_heading(recorded))
        else:
            self.bar.show_state(told, not why, heading(told.entries))
        self.note.setText(f"⚠ {told.note}")
        self.note.setVisible(bool(told.note))
        self.runs.set_possible(why)
        if why:
            self.close_form()
        self.empty.setText(self._why_empty())
        self._pages.setCurrentWidget(self.list if self.entries else self.empty)

    def _why_empty(self) -> str:
        live = self.session.live
        if live is not None and live.ended:
            return f"Ended: {live.ended}\nAttach a model anew in the console (Ctrl+`): moe.attach()"
        if live is None:
            return f"{recorded_text(self.session.store.notes)}\n\n{A_FILE}"
        return NO_MODEL if self.overriding.why_not else NO_OVERRIDES

    # The form

    def open_form(self, override: Override | None = None, entry: Entry | None = None) -> None:
        """Show the form, empty or filled; ``entry`` is the override that is changed."""
        self.form.show_override(override, entry)
        self.form.show()
        self._escape.setEnabled(True)
        (self.form.kind if override is None else self.form.fields["layers"]).setFocus()

    def close_form(self) -> None:
        """Put the form away."""
        if not self.form.isHidden():
            self.form.hide()
            self._escape.setEnabled(False)
            self.list.setFocus()

    def _accepted(self, override: Override, entry: Entry | None) -> None:
        try:
            if entry is None:
                self.overriding.add(override)
            else:
                self.overriding.change(entry.id, override)
        except MoedeskError as error:
            self.form.say(str(error), wrong=True)
            return
        self.close_form()

    def _change(self, entry: Entry) -> None:
        if not self.overriding.why_not:
            self.open_form(entry.override, entry)

    # One override

    def _rename(self, entry: Entry, name: str) -> None:
        try:
            self.overriding.rename(entry, name)
        except MoedeskError as error:
            self.shell.say(str(error))

    def _remove(self, entry: Entry) -> None:
        self.overriding.remove(entry.id)

    def _menu(self, entry: Entry, position: QPoint) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.fill_menu(menu, entry)
        menu.popup(position)

    def fill_menu(self, menu: QMenu, entry: Entry) -> None:
        """Fill a context menu for an override."""
        override, possible = entry.override, not self.overriding.why_not
        changes: tuple[tuple[str, Callable[[], object]], ...] = (
            ("Switch off" if entry.on else "Switch on", lambda: self.overriding.switch(entry.id, not entry.on)),
            ("Change…", lambda: self._change(entry)),
            ("Add one like it…", lambda: self.open_form(override)),
            ("Rename…", self.list.edit_name),
            ("Remove", lambda: self._remove(entry)),
        )
        if entry.passes:
            changes, possible = (("Apply to the live model", lambda: self.apply([entry])),), True
        for text, action in changes:
            menu.addAction(text, action).setEnabled(possible)
        menu.addSeparator()
        menu.addAction("Copy as Python, without moedesk", lambda: self._copy([override], "python"))
        menu.addAction("Copy as a line for the console", lambda: self._copy([override], "console"))
        for layer in override.layers[:1]:
            if override.experts:
                selection = Selection(Kind.EXPERT, layer=layer, expert=override.experts[0])
            else:
                selection = Selection(Kind.LAYER, layer=layer)
            add_reveal_actions(menu, selection, self.session, self.shell, SPEC.id)

    # Out of the panel, and into it

    def apply(self, entries: Sequence[Entry]) -> None:
        """Set overrides that a capture tells of on the model that runs in another session; of several, the user chooses."""
        live = [other for other in self.shell.beside.others(self.session) if not other.overriding.why_not]
        if not live:
            self.shell.say("No model runs in another session: attach one in the console (Ctrl+`), moe.attach()")
        elif len(live) == 1:
            self._apply(entries, live[0])
        else:
            menu = QMenu(self)
            menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            for other in live:
                menu.addAction(other.title, partial(self._apply, entries, other))
            menu.popup(QCursor.pos())

    def _apply(self, entries: Sequence[Entry], other: Session) -> None:
        try:
            other.overriding.add_all([Kept(entry.override) for entry in entries], self.session.title)
        except MoedeskError as error:
            self.shell.say(f"Nothing applied to {other.title}: {error}")
            return
        self.shell.say(f"{counted(len(entries))} set on {other.title}, whose Overrides panel lists them")

    def copy(self, form: str) -> None:
        """Put all overrides that are on, or of a capture all, onto the clipboard: as ``python`` without moedesk, or as lines for
        the ``console``.
        """
        self._copy([entry.override for entry in self.entries if entry.on], form)

    def _copy(self, overrides: Sequence[Override], form: str) -> None:
        if form == "python":
            text = as_python(overrides, self.session.store.model)
        else:
            text = "".join(f"{override.as_call()}\n" for override in overrides)
        QGuiApplication.clipboard().setText(text)
        said = "Python that needs no moedesk" if form == "python" else "lines for the console"
        self.shell.say(f"Copied {counted(len(overrides))} as {said}.")

    def ask_save(self) -> None:
        """Ask for a file, and save the list there."""
        start = str(Path.home() / "overrides.json")
        name, _ = QFileDialog.getSaveFileName(self, "Save the overrides", start, "Overrides (*.json)")
        if name:
            self.save_to(Path(name) if Path(name).suffix else Path(f"{name}.json"))

    def save_to(self, path: Path) -> None:
        """Save the list."""
        entries = self.entries
        try:
            save(path, [Kept(entry.override, entry.on) for entry in entries], self.session.store.model.name)
        except MoedeskError as error:
            self.shell.say(f"Not saved: {error}")
            return
        self.shell.say(f"Saved {counted(len(entries))} to {path}")

    def ask_load(self) -> None:
        """Ask for a file, and add its overrides."""
        name, _ = QFileDialog.getOpenFileName(
            self, "Add the overrides of a file", "", "Overrides (*.json);;All files (*)"
        )
        if name:
            self.load_from(Path(name))

    def load_from(self, path: Path) -> None:
        """Add the overrides of a file; nothing, if one of them doesn't fit the model."""
        try:
            kept = load(path)
            self.overriding.add_all(kept, path.name)
        except MoedeskError as error:
            self.shell.say(f"Nothing added: {error}")
            return
        self.shell.say(f"Added {counted(len(kept))} of {path.name}")

    # The shell

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.bar.set_theme(theme)
        self.form.set_theme(theme)
        self.runs.set_theme(theme)
        self.note.setStyleSheet(f"color: {theme.warning};")

    def save_state(self) -> dict[str, object]:
        """Return the tab, and what is typed in it."""
        return {"tab": self.tabs.currentIndex(), "runs": self.runs.save_state()}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Take over what ``save_state`` returned; what doesn't fit is left as it is."""
        tab, runs = state.get("tab"), state.get("runs")
        if isinstance(tab, int) and 0 <= tab < self.tabs.count():
            self.tabs.setCurrentIndex(tab)
        if isinstance(runs, dict):
            self.runs.restore_state(runs)
