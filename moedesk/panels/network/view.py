"""The Network panel: filter bar, overview, the table of passes, and the details beside it."""

from functools import partial
from typing import Any

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QLabel, QMenu, QSplitter, QStackedLayout, QToolButton, QVBoxLayout, QWidget

from moedesk.core.attribution import Explanation, Why
from moedesk.core.selection import Kind, Selection
from moedesk.panels.network.breaking import BreakOnFilter
from moedesk.panels.network.copying import add_copy_actions, copy_text, subject_of
from moedesk.panels.network.labelling import add_label_actions
from moedesk.panels.network.spec import SPEC
from moedesk.panels.network.view_details import Details
from moedesk.panels.network.view_overview import Overview
from moedesk.panels.network.view_passes import PassesView
from moedesk.panels.network.view_search import Search
from moedesk.session.session import Session
from moedesk.ui.break_menu import add_break_actions
from moedesk.ui.filter_bar import FilterBar
from moedesk.ui.live_bar import LiveBar
from moedesk.ui.override_menu import add_override_actions
from moedesk.ui.panel import Panel, Shell
from moedesk.ui.reveal import add_reveal_actions
from moedesk.ui.theme import Theme

EVERYTHING = frozenset({"store", "selection", "window", "cursor", "filter", "labels", "live"})
NO_LAYERS = (
    "This capture has no Mixture-of-Experts layers, so there is no routing to show.\n"
    "Record a model in which a router picks experts: moedesk.record(model, path)."
)
NO_PASSES = (
    "No passes yet.\n"
    'Record some: with moedesk.record(model, "run.h5", tokenizer=tokenizer): model(…)\n'
    "or open another capture with Ctrl+O."
)


NO_MODEL = (
    "No model is attached. In the console (Ctrl+`):\n\n"
    'moe.load("sample")\nmoe.attach()\nmoe.run("Once upon a time")\n\n'
    "What it routes shows here while it runs."
)
NOT_RUN = (
    "{name} is attached and has not run yet. In the console (Ctrl+`):\n\n"
    'moe.run("Once upon a time")\n\n'
    "or call the model as you always do: every forward pass shows here."
)
NOT_RECORDING = "Recording is off: Ctrl+E, or the ring above, takes passes again."


class NetworkPanel(Panel):
    """Every pass of a capture or of a running model, and what it was routed to."""

    def __init__(self, session: Session, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(session, shell, parent)
        self.live_bar = LiveBar(session)
        self.filter_bar = FilterBar()
        self.overview = Overview(session, shell.opengl)
        self.passes = PassesView(session)
        self.no_match = QLabel(self.passes)
        self.details = Details(session, shell)
        self.search = Search(session, self.filter_bar, self)
        self.empty = QLabel()
        self.breaking = BreakOnFilter(session, shell)
        self._lay_out()
        self.filter_bar.filter_changed.connect(session.set_filter)
        self.search.found.connect(self._show_found)
        for part in (self.overview, self.passes, self.details):
            part.menu_asked.connect(self._menu)
        self.passes.failed.connect(shell.say)
        self.set_theme(shell.theme)

    def _lay_out(self) -> None:
        self.sideways = QSplitter(Qt.Orientation.Horizontal)
        self.sideways.addWidget(self.passes)
        self.sideways.addWidget(self.details)
        self.sideways.setStretchFactor(0, 1)
        self.sideways.setStretchFactor(1, 1)
        self.sideways.setSizes([520, 480])
        self.upright = QSplitter(Qt.Orientation.Vertical)
        self.upright.addWidget(self.overview)
        self.upright.addWidget(self.sideways)
        self.upright.setStretchFactor(0, 2)
        self.upright.setStretchFactor(1, 3)
        self.upright.setSizes([240, 400])
        for splitter in (self.sideways, self.upright):
            splitter.setChildrenCollapsible(True)
        self.sideways.setCollapsible(0, False)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.empty.setWordWrap(True)
        self.empty.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.content = QWidget()
        column = QVBoxLayout(self.content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.filter_bar)
        column.addWidget(self.upright, 1)
        self._pages = QStackedLayout()
        self._pages.addWidget(self.content)
        self._pages.addWidget(self.empty)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(self.live_bar)
        whole.addLayout(self._pages, 1)
        self.no_match.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.no_match.setWordWrap(True)
        self.no_match.hide()
        within = QVBoxLayout(self.passes.viewport())
        within.addWidget(self.no_match)
        self.fold = QToolButton()
        self.fold.setAutoRaise(True)
        self.fold.setText("⇥")
        self.fold.setToolTip("Show or hide the details (Ctrl+B)")
        self.fold.setAccessibleName("Details")
        self.fold.clicked.connect(self.toggle_details)
        self.filter_bar.add_widget(self.breaking)
        self.filter_bar.add_widget(self.fold)
        for keys, action in (("Ctrl+B", self.toggle_details), ("Ctrl+L", self.live_bar.clear)):
            shortcut = QShortcut(QKeySequence(keys), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(action)

    def refresh(self, changed: frozenset[str]) -> None:
        """Take over what changed in the session."""
        store = self.session.store
        if changed & {"live", "store"}:
            self.live_bar.refresh()
        if not store.model.layers or not store.n_passes:
            self.empty.setText("\n\n".join((self._why_empty(), *store.notes)))
            self._pages.setCurrentWidget(self.empty)
            return
        if self._pages.currentWidget() is not self.content:
            self._pages.setCurrentWidget(self.content)
            changed = EVERYTHING
        self.breaking.refresh()
        self.search.refresh(changed)
        self.overview.refresh(changed)
        self.passes.refresh(changed)
        self.details.refresh(changed)
        if "window" in changed:
            self._say_no_match()

    def _why_empty(self) -> str:
        """Return why there is nothing to show, and what to do."""
        live, model = self.session.live, self.session.store.model
        if live is None:
            return NO_PASSES if model.layers else NO_LAYERS
        if live.ended:
            return f"Ended: {live.ended}\nNothing had been received."
        if not live.attached:
            return NO_MODEL
        if not live.recording:
            return NOT_RECORDING
        return NOT_RUN.format(name=model.name or model.class_name or "The model")

    def _show_found(self) -> None:
        found = self.search.result
        self.overview.set_found(found)
        self.passes.set_found(*((None, None) if found is None else (found.passes, found.events)))
        self._say_no_match()

    def _say_no_match(self) -> None:
        nothing = self.search.result is not None and not len(self.passes.table.numbers)
        self.no_match.setVisible(nothing)
        if nothing:
            where = "in the brushed passes " if self.session.window is not None else ""
            found = self.search.result
            note = f"\n⚠ {found.note}" if found is not None and found.note else ""
            self.no_match.setText(
                f"Nothing {where}matches the filter.{note}\nLoosen it, or clear it with Esc in the filter line."
            )

    def _menu(self, selection: Selection, position: QPoint) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.fill_menu(menu, selection)
        menu.popup(position)

    def fill_menu(self, menu: QMenu, selection: Selection) -> None:
        """Fill a context menu for a pass, layer, expert or token."""
        session = self.session
        menu.addAction(f"Select {selection}", lambda: session.select(selection))
        if selection.kind is Kind.TOKEN and selection.token is not None:
            token, stream = selection.token, selection.stream
            for page in self.details.explain.pages:
                menu.addAction(page.verb, partial(self.explain, page.kind, selection))
            menu.addSeparator()
            menu.addAction("Copy text of the token", lambda: copy_text(session, self.shell, token, token + 1, stream))
            shown = self.details.tokens.text.page
            if shown is not None and len(shown):
                first = shown.tokens.first
                menu.addAction(
                    "Copy text of all tokens shown",
                    lambda: copy_text(session, self.shell, first, first + len(shown), stream),
                )
        if selection.kind is Kind.EXPERT and session.selection.token is not None:
            menu.addAction("Why this expert?", lambda: self.explain(Why, selection))
        if selection.kind is Kind.EXPERT:
            menu.addAction("Filter by this expert", lambda: self._filter_by(selection))
        menu.addSeparator()
        add_label_actions(menu, session, self.shell, self, self.passes.selected_spans, selection)
        menu.addSeparator()
        add_copy_actions(menu, session, self.shell, subject_of(session, selection, self.details.tokens.layer))
        add_override_actions(menu, selection, session, self.shell)
        add_break_actions(menu, selection, session, self.shell)
        add_reveal_actions(menu, selection, session, self.shell, SPEC.id)

    def _filter_by(self, selection: Selection) -> None:
        self.filter_bar.edit.setText(f"layer:{selection.layer} expert:{selection.expert}")

    def explain(self, kind: type[Explanation], selection: Selection) -> None:
        """Show what is known of a token, or of the selected one at an expert's layer; ask the model where nothing is."""
        self.session.select(selection)
        self.details.show()
        self.details.setCurrentWidget(self.details.explain)
        self.details.explain.show_page(kind)
        self.details.explain.ask_if_unknown()

    def toggle_details(self) -> None:
        """Show or hide the details."""
        self.details.setVisible(self.details.isHidden())

    def focus_find(self) -> None:
        """Put the keyboard into the filter line."""
        self.filter_bar.focus()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.live_bar.set_theme(theme)
        self.breaking.set_theme(theme)
        self.filter_bar.set_theme(theme)
        self.overview.set_theme(theme)
        self.details.set_theme(theme)
        self.passes.painter.theme = theme
        self.passes.viewport().update()

    def save_state(self) -> dict[str, object]:
        """Return sizes, columns and the filter's history."""
        return {
            "upright": self.upright.sizes(),
            "sideways": self.sideways.sizes(),
            "details": not self.details.isHidden(),
            "tab": self.details.currentIndex(),
            "columns": self.passes.shown_columns(),
            "history": self.filter_bar.edit.history,
        }

    def restore_state(self, state: dict[str, object]) -> None:
        """Take over what ``save_state`` returned; what doesn't fit is left as it is."""
        for name, splitter in (("upright", self.upright), ("sideways", self.sideways)):
            sizes: Any = state.get(name)
            if _list_of(int, sizes) and len(sizes) == splitter.count() and any(sizes):
                splitter.setSizes(sizes)
        columns: Any = state.get("columns")
        if _list_of(str, columns):
            self.passes.show_columns(columns)
        history: Any = state.get("history")
        if _list_of(str, history):
            self.filter_bar.edit.set_history(history)
        tab = state.get("tab")
        if isinstance(tab, int) and 0 <= tab < self.details.count():
            self.details.setCurrentIndex(tab)
        self.details.setVisible(state.get("details", True) is not False)


def _list_of(kind: type, value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)
