"""The right half: what is known of the chosen node."""

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from moedesk.analysis.load import LayerLoad
from moedesk.panels.elements.model_expert import ExpertView
from moedesk.panels.elements.model_facts import Fact, facts, layer_facts, router_facts
from moedesk.panels.elements.model_load import Scope
from moedesk.panels.elements.model_tree import NO_NODE, Outline
from moedesk.panels.elements.view_button import flat_button
from moedesk.panels.elements.view_expert import ExpertSection
from moedesk.panels.elements.view_facts import FactForm, muted_label, text_label
from moedesk.panels.elements.view_load import LoadView
from moedesk.ui.icons import icon
from moedesk.ui.theme import Theme

NOTHING_CHOSEN = "Choose a module, an MoE layer or an expert in the tree to see what it is and what it does."
PADDING = "padding left out"


class DetailsView(QScrollArea):
    """Shows a node; ``expert_picked`` names a layer's expert to go to."""

    expert_picked = Signal(int, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._outline: Outline | None = None
        self.node = NO_NODE
        self.title = QLabel()
        self.previous = flat_button("Previous expert (Alt+Left)", shortcut="Alt+Left")
        self.next = flat_button("Next expert (Alt+Right)", shortcut="Alt+Right")
        self.path = text_label("")
        self.copy = flat_button("Copy path")
        self.empty = muted_label(NOTHING_CHOSEN)
        self.scope = muted_label("")
        self.load = LoadView()
        self.expert = ExpertSection()
        self.facts = FactForm()
        self._lay_out()
        self.previous.clicked.connect(lambda: self._step(-1))
        self.next.clicked.connect(lambda: self._step(1))
        self.copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(self.path.text()))
        self.load.picked.connect(lambda expert: self.expert_picked.emit(self.layer, expert))
        self.show_node(None, NO_NODE)

    @property
    def layer(self) -> int:
        """The MoE layer of the node, or -1."""
        return self._outline.layer[self.node] if self._outline is not None and self.node >= 0 else -1

    @property
    def shows_load(self) -> bool:
        """Whether the node has a load: an MoE layer, its experts, or one of them."""
        return self.layer >= 0 and self._kind in ("moe", "experts", "expert")

    @property
    def shows_expert(self) -> bool:
        """Whether the node is one expert."""
        return self.layer >= 0 and self._kind == "expert" and self.number >= 0

    def show_node(self, outline: Outline | None, node: int) -> None:
        """Show what is known of a node at once; ``set_load`` and ``set_expert`` bring the rest."""
        # By identity: comparing two models would compare every module.
        changed = self._outline is not outline or self.node != node
        self._outline, self.node = outline, node
        chosen = outline is not None and node >= 0
        _show(chosen, self.title, self.path, self.facts)
        _show(outline is not None and chosen and bool(outline.path(node)), self.copy)
        _show(not chosen, self.empty)
        # Chart and table take the room there is; without them it stays empty below.
        self._column.setStretch(self._column.count() - 1, 0 if self.shows_load else 1)
        _show(self.shows_load, self.scope, self.load)
        _show(self.shows_expert, self.previous, self.next, self.expert)
        if outline is None or not chosen or not changed:
            return
        self.title.setText(self._title(outline))
        self.path.setText(outline.path(node) or "the model itself")
        self.facts.set_facts(self._facts(outline))
        self.previous.setEnabled(self.number > 0)
        info = outline.layer_info(node)
        self.next.setEnabled(info is not None and self.number < info.experts - 1)
        self.expert.set_view(None)
        self.verticalScrollBar().setValue(0)

    def set_scope(self, scope: Scope) -> None:
        """Say which passes are counted."""
        self.scope.setText(f"{scope.text}; {PADDING}")

    def set_load(self, load: LayerLoad | None) -> None:
        """Show the load of the node's layer."""
        self.load.set_load(load, self.number, with_numbers=not self.shows_expert)

    def set_expert(self, view: ExpertView) -> None:
        """Show what the expert does, if it is still the one."""
        if self.shows_expert and (view.layer.place, view.expert) == (self.layer, self.number):
            self.expert.set_view(view)

    def set_hint(self, text: str) -> None:
        """Say what to do while nothing is chosen."""
        if text != self.empty.text():
            self.empty.setText(text)

    def set_failed(self, text: str) -> None:
        """Say why there is nothing."""
        self.empty.setText(text)
        self.empty.setVisible(True)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.setStyleSheet(
            f"QWidget#details {{ background: {theme.surface}; }}"
            f"QLabel[muted=true] {{ color: {theme.muted}; }} QLabel[warning=true] {{ color: {theme.warning}; }}"
        )
        self.previous.setIcon(icon("left", theme))
        self.next.setIcon(icon("right", theme))
        self.copy.setIcon(icon("copy", theme))
        self.load.set_theme(theme)
        self.expert.set_theme(theme)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return about half a window."""
        return QSize(480, 600)

    @property
    def _kind(self) -> str:
        return self._outline.kind(self.node) if self._outline is not None and self.node >= 0 else ""

    @property
    def number(self) -> int:
        """The expert that the node is, or -1."""
        return self._outline.expert[self.node] if self._outline is not None and self.node >= 0 else -1

    def _title(self, outline: Outline) -> str:
        match self._kind:
            case "expert" if self.shows_expert:
                return f"Expert {self.number} of MoE layer {self.layer}"
            case "moe" if self.layer >= 0:
                return f"MoE layer {self.layer}"
            case "router" | "experts" if self.layer >= 0:
                return f"{self._kind.capitalize()} of MoE layer {self.layer}"
        return outline.name(self.node)

    def _facts(self, outline: Outline) -> list[Fact]:
        info = outline.layer_info(self.node)
        own = facts(outline, self.node)
        if info is not None and self._kind == "moe":
            return layer_facts(info, outline.model.verification) + own
        if info is not None and self._kind == "router":
            return router_facts(info) + own
        return own

    def _step(self, by: int) -> None:
        if self.shows_expert:
            self.expert_picked.emit(self.layer, self.number + by)

    def _lay_out(self) -> None:
        font = self.title.font()
        font.setBold(True)
        if font.pointSizeF() > 0:
            font.setPointSizeF(font.pointSizeF() * 1.25)
        self.title.setFont(font)
        for label in (self.empty, self.scope):
            label.setWordWrap(True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        head = QHBoxLayout()
        head.addWidget(self.title, 1)
        head.addWidget(self.previous)
        head.addWidget(self.next)
        place = QHBoxLayout()
        place.addWidget(self.path, 1)
        place.addWidget(self.copy, 0, Qt.AlignmentFlag.AlignTop)
        content = QWidget()
        content.setObjectName("details")
        column = QVBoxLayout(content)
        column.setContentsMargins(12, 8, 12, 8)
        column.setSpacing(8)
        column.addLayout(head)
        column.addLayout(place)
        column.addWidget(self.empty, 1)
        for widget, stretch in ((self.scope, 0), (self.load, 3), (self.expert, 4), (self.facts, 0)):
            column.addWidget(widget, stretch)
        column.addStretch(0)
        self._column = column
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)


def _show(shown: bool, *widgets: QWidget) -> None:
    for widget in widgets:
        widget.setVisible(shown)
