"""The Elements panel on a large model: 48 layers × 512 experts, 30,000 modules. Prints milliseconds.

QT_QPA_PLATFORM=offscreen .venv/bin/python tests/benchmarks/bench_elements.py
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from PySide6.QtWidgets import QApplication

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from moedesk.analysis.load import LayerLoad
from moedesk.core.model import LayerInfo, ModelInfo, ModuleInfo
from moedesk.panels.elements.model_search import search_index
from moedesk.panels.elements.model_tree import outline
from moedesk.panels.elements.view_details import DetailsView
from moedesk.panels.elements.view_outline import OutlineView
from moedesk.ui.theme import LIGHT

LAYERS, EXPERTS, PARTS = 48, 512, 620


def model() -> ModelInfo:
    """Make a model of 48 blocks with stacked experts and some 600 small modules each."""
    infos, modules = [], [ModuleInfo("", "Big", "Big", -1), ModuleInfo("layers", "layers", "ModuleList", 0)]
    for place in range(LAYERS):
        block = len(modules)
        path = f"layers.{place}"
        modules.append(ModuleInfo(path, str(place), "Layer", 1))
        modules.append(ModuleInfo(f"{path}.mlp", "mlp", "SparseMoeBlock", block, "moe", place))
        modules.append(ModuleInfo(f"{path}.mlp.gate", "gate", "Router", block + 1, "router", place))
        experts = ModuleInfo(f"{path}.mlp.experts", "experts", "Experts", block + 1, "experts", place, 512_000, 512_000)
        modules.append(replace(experts, shapes="up 512×10×50, down 512×50×10"))
        modules += [
            ModuleInfo(f"{path}.part{n}", f"part{n}", "Linear", block, "linear", -1, 100, 100) for n in range(PARTS)
        ]
        infos.append(
            LayerInfo(
                f"{path}.mlp",
                "SparseMoeBlock",
                EXPERTS,
                8,
                0,
                "softmax",
                "main",
                1.0,
                f"{path}.mlp.gate",
                f"{path}.mlp.experts",
                place,
            )
        )
    return ModelInfo("big", "Big", tuple(infos), tuple(modules))


def timed(name: str, work: Callable[[], object], times: int = 5) -> None:
    """Print the median of several runs."""
    spent = []
    for _ in range(times):
        start = perf_counter()
        work()
        spent.append(1000 * (perf_counter() - start))
    print(f"{name:<46} {median(spent):8.1f} ms")


def main() -> None:
    """Time what a user waits for."""
    application = QApplication([])
    big = model()
    tree = outline(big)
    print(f"{len(big.modules):,} modules, {len(tree):,} nodes")
    timed("outline and search index (in the worker)", lambda: search_index(outline(big)))
    index = search_index(tree)
    timed("search, a key press, 'experts[51'", lambda: index.find("experts[51"))
    timed("search, a key press, 'linear'", lambda: index.find("linear"))
    view, details = OutlineView(lambda menu, node: None), DetailsView()
    for widget in (view, details):
        widget.set_theme(LIGHT)
        widget.resize(800, 1000)
        widget.show()
    timed("show the tree", lambda: (view.set_index(index), view.grab()))
    counts = np.random.default_rng(0).poisson(100, (LAYERS, EXPERTS))
    loads = [LayerLoad(info, counts[info.place]) for info in big.layers]
    node = tree.expert_node(40, 500)
    timed("show an expert from elsewhere", lambda: (view.show_node(-1), view.show_node(node), view.grab()))
    timed("new loads, tree painted (a replay step)", lambda: (view.set_loads(loads), application.processEvents()))
    details.show_node(tree, tree.layer_node(40))
    timed(
        "new load, 512 bars painted (a replay step)", lambda: (details.set_load(loads[40]), application.processEvents())
    )
    timed("expand to every expert", lambda: (view._collapse(), view.expand_to("expert"), view.grab()), 3)
    view.close()
    details.close()
    application.processEvents()


if __name__ == "__main__":
    main()
