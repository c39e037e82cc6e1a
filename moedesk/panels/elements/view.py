"""The Elements panel: the module tree, and what is known of the chosen node."""

from typing import NamedTuple

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QMenu, QSplitter, QWidget

from moedesk.analysis.load import LayerLoad, layer_load
from moedesk.core.model import ModelInfo
from moedesk.core.selection import NOTHING, Kind, Selection
from moedesk.panels.elements.model_expert import expert_view
from moedesk.panels.elements.model_load import Scope
from moedesk.panels.elements.model_marks import breakpoint_marks, override_marks
from moedesk.panels.elements.model_search import SearchIndex, search_index
from moedesk.panels.elements.model_tree import NO_NODE, outline
from moedesk.panels.elements.spec import SPEC
from moedesk.panels.elements.view_details import NOTHING_CHOSEN, DetailsView
from moedesk.panels.elements.view_outline import OutlineView
from moedesk.session import breakpoints, overriding
from moedesk.session.session import Session
from moedesk.ui.break_menu import add_break_actions
from moedesk.ui.override_menu import add_override_actions
from moedesk.ui.paced_question import PacedQuestion
from moedesk.ui.panel import Panel, Shell
from moedesk.ui.reveal import add_reveal_actions
from moedesk.ui.theme import Theme

NO_MODEL = (
    "No model is attached. In the console (Ctrl+`): "
    'moe.load("sample"), then moe.attach(). Its modules show here, and their load while it runs.'
)


class _Asked(NamedTuple):
    """What an expert was looked at over: asked again only if it differs."""

    layer: int
    expert: int
    first: int
    last: int


class ElementsPanel(Panel):
    """The model's tree on the left, details on the right."""

    def __init__(self, session: Session, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(session, shell, parent)
        self._index: SearchIndex | None = None
        self._loads: list[LayerLoad] = []
        self._asked: _Asked | None = None
        self._tree, self._load, self._expert = (
            PacedQuestion(session, f"{SPEC.id}/{name}", self) for name in ("tree", "load", "expert")
        )
        self._described: ModelInfo | None = None
        self.outline = OutlineView(self._add_reveals)
        self.details = DetailsView()
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.splitter.addWidget(self.outline)
        self.splitter.addWidget(self.details)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setSizes([550, 450])
        self.splitter.setStretchFactor(0, 1)
        self.splitter.setStretchFactor(1, 1)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.splitter)
        self.outline.picked.connect(self._pick)
        self.details.expert_picked.connect(self._pick_expert)
        self.set_theme(shell.theme)

    @property
    def scope(self) -> Scope:
        """The passes that are counted."""
        first, last = self.session.span
        return Scope(first, last, self.session.store.n_passes, self.session.window is not None, self.session.cursor)

    def refresh(self, changed: frozenset[str]) -> None:
        """Ask for what changed."""
        model = self.session.store.model
        if "store" in changed and model is not self._described and (model.modules or model.layers):
            self._ask_tree()
        if changed & {"store", "live"}:
            self.details.set_hint(self._hint())
        if changed & {"window", "cursor"} or ("store" in changed and self._counts_grow):
            self._ask_loads()
        if "selection" in changed:
            self._follow_selection()
        if changed & {breakpoints.TOPIC, overriding.TOPIC, "live", "window", "cursor"}:
            self._mark()
        self.details.load.set_conventions(self.session.conventions)
        if "labels" in changed:
            self._asked = None
        self._ask_expert()

    @property
    def _counts_grow(self) -> bool:
        """Whether new passes are among those that are counted."""
        session = self.session
        return session.live is None or not self._loads or (session.window is None and session.cursor is None)

    def _hint(self) -> str:
        """Return what to do where nothing is chosen, or nothing is there to choose."""
        live, model = self.session.live, self.session.store.model
        if live is None or model.modules or model.layers:
            return NOTHING_CHOSEN
        return f"Ended: {live.ended}" if live.ended else NO_MODEL

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.outline.set_theme(theme)
        self.details.set_theme(theme)

    def focus_find(self) -> None:
        """Put the keyboard into the search field."""
        self.outline.search.field.setFocus()
        self.outline.search.field.selectAll()

    def save_state(self) -> dict[str, object]:
        """Return the splitter's sizes and the chart's order."""
        return {"sizes": self.splitter.sizes(), "by_load": self.details.load.by_load}

    def restore_state(self, state: dict[str, object]) -> None:
        """Take over sizes and order."""
        sizes = state.get("sizes")
        if isinstance(sizes, list) and len(sizes) == 2 and all(isinstance(size, int) and size > 0 for size in sizes):
            self.splitter.setSizes(sizes)
        self.details.load.sort.setCurrentIndex(1 if state.get("by_load") is True else 0)

    def _ask_tree(self) -> None:
        model = self._described = self.session.store.model
        self._tree.ask(lambda ticket: search_index(outline(model)), self._show_tree, self._say_failure)

    def _ask_loads(self) -> None:
        store, scope = self.session.store, self.scope
        self._load.ask(
            lambda ticket: (scope, layer_load(store, scope.first, scope.last)), self._show_loads, self._say_failure
        )

    def _ask_expert(self) -> None:
        """Look at the chosen expert, if it is another one or over other passes."""
        if not self.details.shows_expert or self._index is None:
            return
        store, scope = self.session.store, self.scope
        asked = _Asked(self.details.layer, self.details.number, scope.first, scope.last)
        if asked == self._asked:
            return
        same_expert = self._asked is not None and self._asked[:2] == asked[:2]
        self._asked = asked
        self._expert.ask(
            lambda ticket: expert_view(store, asked.layer, asked.expert, asked.first, asked.last, ticket),
            self.details.set_expert,
            self._say_expert_failure,
            self.details.expert.set_progress,
            urgent=not same_expert,
        )

    def _show_tree(self, index: SearchIndex) -> None:
        self._index, self._asked = index, None
        self.outline.set_index(index)
        self._mark()
        self._follow_selection()
        self._ask_expert()

    def _show_loads(self, answer: tuple[Scope, list[LayerLoad]]) -> None:
        scope, self._loads = answer
        self.outline.set_loads(self._loads)
        self.details.set_scope(scope)
        self._show_load()

    def _show_load(self) -> None:
        if self.details.shows_load:
            known = self.details.layer < len(self._loads)
            self.details.set_load(self._loads[self.details.layer] if known else None)

    def _mark(self) -> None:
        """Show what breakpoints name, and what overrides act on."""
        if self._index is not None:
            overridden = self.session.overriding.in_view()
            self.outline.set_marks(overriding.TOPIC, override_marks(self._index.outline, overridden))
            shown = breakpoints.breakpoints_of(self.session.live)
            self.outline.set_marks(breakpoints.TOPIC, breakpoint_marks(self._index.outline, shown))

    def _follow_selection(self) -> None:
        """Show what is selected; a pass or a token without a layer is not in the tree, so that the node before it stays."""
        if self._index is None:
            return
        node = self._index.outline.node(self.session.selection)
        if node != NO_NODE or self.session.selection == NOTHING:
            self.outline.show_node(node)
            self.details.show_node(self._index.outline, node)
            self._show_load()

    def _pick(self, node: int) -> None:
        if self._index is not None:
            self.session.select(self._index.outline.selection(node))

    def _pick_expert(self, layer: int, expert: int) -> None:
        self.session.select(Selection(Kind.EXPERT, layer=layer, expert=expert))

    def _say_failure(self, error: Exception) -> None:
        self.details.set_failed(f"Can't read the capture: {error}")

    def _say_expert_failure(self, error: Exception) -> None:
        self.details.expert.set_failed(f"Can't read the capture: {error}")

    def _add_reveals(self, menu: QMenu, node: int) -> None:
        if self._index is not None:
            add_override_actions(menu, self._index.outline.selection(node), self.session, self.shell)
            add_break_actions(menu, self._index.outline.selection(node), self.session, self.shell)
            add_reveal_actions(menu, self._index.outline.selection(node), self.session, self.shell, SPEC.id)
