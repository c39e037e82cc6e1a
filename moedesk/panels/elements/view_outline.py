"""The left half: search, tree, breadcrumbs."""

from collections.abc import Callable

from PySide6.QtCore import QModelIndex, QPoint, QSize, Qt, Signal
from PySide6.QtGui import QGuiApplication, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QHeaderView, QMenu, QToolButton, QTreeView, QVBoxLayout, QWidget

from moedesk.analysis.load import LayerLoad
from moedesk.panels.elements.model_facts import as_python
from moedesk.panels.elements.model_marks import Marks
from moedesk.panels.elements.model_search import SearchIndex
from moedesk.panels.elements.model_tree import NO_NODE, ROOT, Outline
from moedesk.panels.elements.view_breadcrumbs import Breadcrumbs
from moedesk.panels.elements.view_button import flat_button
from moedesk.panels.elements.view_node import NodeDelegate
from moedesk.panels.elements.view_search import SearchField
from moedesk.panels.elements.view_tree import ModuleTree
from moedesk.panels.elements.view_tree_model import DEVICE, DTYPE, LOAD, NAME, PARAMETERS, TreeModel
from moedesk.ui.icons import icon
from moedesk.ui.theme import Theme

_WIDTHS = {PARAMETERS: 84, LOAD: 64, DTYPE: 72, DEVICE: 56}


class OutlineView(QWidget):
    """Shows the module tree; ``picked`` says which node the user chose.

    Parameters
    ----------
    add_actions : callable
        Adds the "Reveal in …" actions of a node to a context menu.
    """

    picked = Signal(int)

    def __init__(self, add_actions: Callable[[QMenu, int], None], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._add_actions = add_actions
        self._following = False
        self.model = TreeModel(self)
        self.tree = ModuleTree()
        self.delegate = NodeDelegate(self.tree)
        self.search = SearchField()
        self.breadcrumbs = Breadcrumbs()
        self.expand = flat_button("Expand or collapse the tree")
        self._set_up_tree()
        self._set_up_expand()
        bar = QHBoxLayout()
        bar.setContentsMargins(4, 4, 4, 4)
        bar.addWidget(self.search, 1)
        bar.addWidget(self.expand)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(bar)
        column.addWidget(self.tree, 1)
        column.addWidget(self.breadcrumbs)
        self.search.picked.connect(self._go_to)
        self.search.found.connect(self._scroll_to)
        self.search.left.connect(self.tree.setFocus)
        self.breadcrumbs.picked.connect(self._go_to)

    @property
    def current(self) -> int:
        """The chosen node, or -1."""
        return self.model.node_of(self.tree.currentIndex())

    def set_index(self, index: SearchIndex) -> None:
        """Show another tree, expanded to its first MoE layer, or, where there was one before, as that was."""
        before = self.model.outline
        opened = [] if before is None else [before.path(node) for node in self._opened(before)]
        scrolled = self.tree.verticalScrollBar().value()
        self._following = True
        self.model.set_outline(index.outline)
        self._following = False
        self.search.set_index(index)
        if len(opened) > 1:
            self._open(index.outline, opened)
            self.tree.verticalScrollBar().setValue(scrolled)
            return
        self.expand_ancestors([*_common_ancestors(index.outline), index.outline.layer_node(0)])
        first = index.outline.layer_node(0)
        if first >= 0:
            self.tree.expand(self.model.index_of(first))

    def _opened(self, outline: Outline) -> list[int]:
        """Return the nodes that are expanded, and seen to be."""
        found, waiting = [], [ROOT] if len(outline) else []
        while waiting:
            node = waiting.pop()
            if self.tree.isExpanded(self.model.index_of(node)):
                found.append(node)
                waiting.extend(outline.children[node])
        return found

    def _open(self, outline: Outline, paths: list[str]) -> None:
        """Expand the modules with these paths."""
        self.tree.setUpdatesEnabled(False)
        for path in paths:
            node = outline.node_at(path)
            if node != NO_NODE:
                self.tree.expand(self.model.index_of(node))
        self.tree.setUpdatesEnabled(True)

    def set_loads(self, loads: list[LayerLoad]) -> None:
        """Fill the Load column."""
        self.model.set_loads(loads)
        self.tree.update_loads()

    def set_marks(self, kind: str, marks: Marks) -> None:
        """Show the badges of a kind that come and go."""
        if self.model.set_marks(kind, marks):
            self.tree.viewport().update()

    def show_node(self, node: int) -> None:
        """Expand to a node and make it current, without announcing it; -1 for none."""
        self._following = True
        if node < 0:
            self.tree.selectionModel().clear()
        elif node != self.current:
            index = self.model.index_of(node)
            self.expand_ancestors([node])
            self.tree.setCurrentIndex(index)
            self.tree.scrollTo(index, QTreeView.ScrollHint.EnsureVisible)
        self._following = False
        self._show_way(node)

    def expand_ancestors(self, nodes: list[int]) -> None:
        """Expand whatever hides these nodes."""
        outline = self.model.outline
        if outline is None:
            return
        above = dict.fromkeys(step for node in nodes for step in outline.ancestors(node)[:-1])
        for step in above:
            self.tree.expand(self.model.index_of(step))

    def expand_to(self, kind: str) -> None:
        """Expand to every MoE layer (``moe``) or to every expert (``expert``)."""
        outline = self.model.outline
        if outline is not None:
            self.tree.setUpdatesEnabled(False)
            self.expand_ancestors([node for node in outline.order if outline.kind(node) == kind])
            self.tree.setUpdatesEnabled(True)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.delegate.theme = self.tree.theme = theme
        self.search.set_theme(theme)
        self.expand.setIcon(icon("layer", theme))
        self.tree.viewport().update()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Leave room for the names: type and device are in the details as well."""
        super().resizeEvent(event)
        for column, needed in ((DEVICE, 640), (DTYPE, 560)):
            self.tree.setColumnHidden(column, self.width() < needed)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return about half a window."""
        return QSize(560, 600)

    def _set_up_tree(self) -> None:
        self.tree.setModel(self.model)
        self.tree.setItemDelegateForColumn(NAME, self.delegate)
        self.tree.setUniformRowHeights(True)
        self.tree.setAllColumnsShowFocus(True)
        self.tree.setIndentation(14)
        self.tree.setAccessibleName("Module tree")
        self.tree.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.tree.customContextMenuRequested.connect(self._open_menu)
        header = self.tree.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(40)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        for column, width in _WIDTHS.items():
            header.resizeSection(column, width)
        self.tree.selectionModel().currentChanged.connect(self._current_changed)

    def _set_up_expand(self) -> None:
        menu = QMenu(self.expand)
        menu.addAction("Expand to MoE layers", lambda: self.expand_to("moe"))
        menu.addAction("Expand to experts", lambda: self.expand_to("expert"))
        menu.addAction("Collapse all", self._collapse)
        self.expand.setMenu(menu)
        self.expand.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)

    def _collapse(self) -> None:
        self.tree.collapseAll()
        self.tree.expand(self.model.index_of(ROOT))

    def _current_changed(self, current: QModelIndex, previous: QModelIndex) -> None:
        node = self.model.node_of(current)
        if node != NO_NODE and not self._following:
            self._show_way(node)
            self.picked.emit(node)

    def _show_way(self, node: int) -> None:
        if self.model.outline is not None:
            self.breadcrumbs.show_node(self.model.outline, node)
            self.search.set_current(node)

    def _go_to(self, node: int) -> None:
        self.show_node(node)
        self.picked.emit(node)

    def _scroll_to(self, node: int) -> None:
        self.expand_ancestors([node])
        self.tree.scrollTo(self.model.index_of(node), QTreeView.ScrollHint.EnsureVisible)

    def _open_menu(self, place: QPoint) -> None:
        node = self.model.node_of(self.tree.indexAt(place))
        if node != NO_NODE:
            menu = self.menu_of(node)
            menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            menu.popup(self.tree.viewport().mapToGlobal(place))

    def menu_of(self, node: int) -> QMenu:
        """Return the context menu of a node."""
        outline = self.model.outline
        assert outline is not None
        menu = QMenu(self)
        self._add_actions(menu, node)
        menu.addSeparator()
        menu.addAction("Copy path", lambda: _copy(outline.path(node)))
        menu.addAction("Copy as Python", lambda: _copy(as_python(outline, node)))
        if outline.children[node]:
            index = self.model.index_of(node)
            menu.addSeparator()
            menu.addAction("Expand all below", lambda: self.tree.expandRecursively(index))
            menu.addAction("Collapse", lambda: self.tree.collapse(index))
        return menu


def _common_ancestors(outline: Outline) -> list[int]:
    """Return the children of the deepest node that holds every MoE layer: they are what is shown at first."""
    ways = [outline.ancestors(outline.layer_node(info.place)) for info in outline.model.layers]
    common = ROOT
    for steps in zip(*[way[:-1] for way in ways], strict=False):
        if len(set(steps)) > 1:
            break
        common = steps[0]
    return outline.children[common][:1] or [common]


def _copy(text: str) -> None:
    QGuiApplication.clipboard().setText(text)
