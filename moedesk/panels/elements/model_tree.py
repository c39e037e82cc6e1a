"""The module tree as the panel shows it: every module, and a node for each expert that has no module of its own."""

import re
from dataclasses import dataclass, field

from moedesk.core.model import LayerInfo, ModelInfo, ModuleInfo
from moedesk.core.selection import Kind, Selection
from moedesk.core.verification import Verdict

ROOT = 0
NO_NODE = -1

_NUMBER = re.compile(r"(?:expert)?_?(\d+)$")


@dataclass(frozen=True)
class Badge:
    """A word beside a node.

    Attributes
    ----------
    text : str
    role : str
        ``moe``, ``router``, ``expert``, ``shared``, ``detail``, ``verified``, ``failed``, ``unchecked``, ``breakpoint`` or
        ``overridden``; chooses the colour, the text says it all.
    hint : str
        What it means, where a word won't do.
    short : str
        Drawn in its place where there is no room for the word; empty for nothing.
    """

    text: str
    role: str
    hint: str = ""
    short: str = ""


@dataclass(frozen=True)
class Outline:
    """The tree. A node is an int: modules have their place in ``modules``, experts without a module follow.

    Attributes
    ----------
    model : ModelInfo
    modules : tuple of ModuleInfo
    parent, row : list of int
        Parent node (-1 for the root), and the place among its children.
    children : list of lists of int
    layer, expert : list of int
        MoE layer and expert number of each node, or -1.
    order : list of int
        All nodes as they are shown from top to bottom with everything expanded.
    """

    model: ModelInfo
    modules: tuple[ModuleInfo, ...]
    parent: list[int]
    row: list[int]
    children: list[list[int]]
    layer: list[int]
    expert: list[int]
    order: list[int]
    _by_path: dict[str, int] = field(repr=False)
    _by_expert: dict[tuple[int, int], int] = field(repr=False)

    def __len__(self) -> int:
        return len(self.parent)

    def is_virtual(self, node: int) -> bool:
        """Whether the node is an expert that has no module of its own: a slice of stacked tensors."""
        return node >= len(self.modules)

    def module(self, node: int) -> ModuleInfo:
        """Return the module of a node; for an expert without one, the module that holds it."""
        return self.modules[self.parent[node] if self.is_virtual(node) else node]

    def layer_info(self, node: int) -> LayerInfo | None:
        """Return the MoE layer that a node belongs to."""
        place = self.layer[node]
        return self.model.layers[place] if 0 <= place < len(self.model.layers) else None

    def name(self, node: int) -> str:
        """Return what the tree says: the last part of the path, or ``expert 3``."""
        return f"expert {self.expert[node]}" if self.is_virtual(node) else self.modules[node].name

    def class_name(self, node: int) -> str:
        """Return the module's class; empty if the name says it, or for an expert without a module."""
        if self.is_virtual(node) or self.modules[node].class_name == self.modules[node].name:
            return ""
        return self.modules[node].class_name

    def path(self, node: int) -> str:
        """Return the module path; ``path[3]`` for an expert without a module."""
        path = self.module(node).path
        return f"{path}[{self.expert[node]}]" if self.is_virtual(node) else path

    def kind(self, node: int) -> str:
        """Return the ``ModuleInfo.kind``; ``expert`` for every expert."""
        return "expert" if self.expert[node] >= 0 else self.modules[node].kind

    def badges(self, node: int) -> tuple[Badge, ...]:
        """Return the words beside a node."""
        info = self.layer_info(node)
        match self.kind(node):
            case "moe" if info is not None:
                words = [f"{info.experts} experts · top-{info.top_k}", info.score]
                words += [f"{info.shared} shared"] if info.shared else []
                words += [info.stream] if info.stream != "main" else []
                return (
                    Badge(f"MoE {info.place}", "moe"),
                    *self._tested(info),
                    *(Badge(word, "detail") for word in words if word != "unknown"),
                )
            case "router" if info is not None and info.score != "unknown":
                return (Badge("router", "router"), Badge(info.score, "detail"))
            case "experts" if info is not None:
                return (Badge(f"{info.experts} experts", "expert"),)
            case "router" | "experts" | "shared" as kind:
                return (Badge(kind, kind if kind != "experts" else "expert"),)
            case "expert" if self.is_virtual(node):
                return ()
            case "expert":
                return (Badge(f"expert {self.expert[node]}" if self.expert[node] >= 0 else "expert", "expert"),)
        return ()

    def _tested(self, info: LayerInfo) -> tuple[Badge, ...]:
        """What the self-test found of a layer; nothing where it never ran."""
        verification = self.model.verification
        found = None if verification is None else verification.layer(info.path, info.experts_path)
        if found is None:
            return ()
        hint = found.reason or "The self-test found that what is captured of this layer is what it does"
        match found.verdict:
            case Verdict.VERIFIED:
                return (Badge("✓ verified", "verified", hint),)
            case Verdict.FAILED:
                return (Badge("✗ failed", "failed", hint),)
        return (Badge("– not checked", "unchecked", hint),)

    def ancestors(self, node: int) -> list[int]:
        """Return the nodes from the root to ``node``, itself included."""
        chain = []
        while node >= 0:
            chain.append(node)
            node = self.parent[node]
        return chain[::-1]

    def selection(self, node: int) -> Selection:
        """Return what clicking a node selects."""
        layer = self.layer[node] if self.layer[node] >= 0 else None
        path = self.module(node).path
        if layer is not None and self.expert[node] >= 0:
            return Selection(Kind.EXPERT, layer=layer, expert=self.expert[node], module=path)
        if layer is not None and self.kind(node) == "moe":
            return Selection(Kind.LAYER, layer=layer, module=path)
        return Selection(Kind.MODULE, layer=layer, module=path)

    def node(self, selection: Selection) -> int:
        """Return the node that shows a selection: of a pass or a token, its expert or layer; -1 if it has none."""
        if selection.kind is Kind.MODULE:
            return self._by_path.get(selection.module or "", NO_NODE)
        if selection.layer is None:
            return NO_NODE
        found = NO_NODE if selection.expert is None else self.expert_node(selection.layer, selection.expert)
        return found if found != NO_NODE else self.layer_node(selection.layer)

    def node_at(self, path: str) -> int:
        """Return the node of a module, or -1."""
        return self._by_path.get(path, NO_NODE)

    def layer_node(self, layer: int) -> int:
        """Return the node of an MoE layer's block, or -1."""
        if not 0 <= layer < len(self.model.layers):
            return NO_NODE
        return self._by_path.get(self.model.layers[layer].path, NO_NODE)

    def expert_node(self, layer: int, expert: int) -> int:
        """Return the node of an expert, or -1."""
        return self._by_expert.get((layer, expert), NO_NODE)


def outline(model: ModelInfo) -> Outline:
    """Build the tree of a model; without a recorded tree, of its MoE layers alone."""
    modules = model.modules or _modules_of_layers(model)
    parent = [module.parent for module in modules]
    children: list[list[int]] = [[] for _ in modules]
    for node, above in enumerate(parent):
        if above >= 0:
            children[above].append(node)
    layer = [module.layer for module in modules]
    expert = [NO_NODE] * len(modules)
    by_path = {module.path: node for node, module in enumerate(modules)}
    by_expert: dict[tuple[int, int], int] = {}
    for node, module in enumerate(modules):
        if module.kind == "expert" and module.layer >= 0:
            expert[node] = _expert_number(module, model.layers[module.layer])
            if expert[node] >= 0:
                by_expert.setdefault((module.layer, expert[node]), node)
    for info in model.layers:
        holder = by_path.get(info.experts_path or info.path, by_path.get(info.path, NO_NODE))
        if holder < 0 or (info.place, 0) in by_expert:
            continue
        for number in range(info.experts):
            by_expert[info.place, number] = len(parent)
            children[holder].append(len(parent))
            parent.append(holder)
            layer.append(info.place)
            expert.append(number)
    children += [[] for _ in range(len(parent) - len(children))]
    row = [0] * len(parent)
    for below in children:
        for place, node in enumerate(below):
            row[node] = place
    return Outline(model, modules, parent, row, children, layer, expert, _top_down(children), by_path, by_expert)


def _expert_number(module: ModuleInfo, info: LayerInfo) -> int:
    """Return the expert that a module called ``3`` or ``expert_3`` is; -1 for a part of one, or a number too large."""
    found = _NUMBER.match(module.name)
    number = int(found[1]) if found else NO_NODE
    return number if number < info.experts else NO_NODE


def _top_down(children: list[list[int]]) -> list[int]:
    order, waiting = [], [ROOT] if children else []
    while waiting:
        node = waiting.pop()
        order.append(node)
        waiting.extend(reversed(children[node]))
    return order


def _modules_of_layers(model: ModelInfo) -> tuple[ModuleInfo, ...]:
    root = ModuleInfo("", model.class_name or model.name, model.class_name, -1, parameters=model.parameters)
    blocks = (ModuleInfo(info.path, info.path, info.block, ROOT, "moe", info.place) for info in model.layers)
    return (root, *blocks)
