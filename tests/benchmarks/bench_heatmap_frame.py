"""What a frame of the load heatmap costs: reduce counts to pixels, hand the picture over, paint.

"replay" moves the cursor over a picture that stays; "new passes" reduces only what came and appends it; "all anew" reduces
every count again, as a zoom does (in the app that runs in the worker, not in the GUI thread).

Run by hand:  python tests/benchmarks/bench_heatmap_frame.py [LAYERS EXPERTS PASSES]
Without a display it draws raster, as the offscreen platform does. Goal: under 16 ms at 48 layers × 128 experts × 2,000 passes.
"""

import os
import sys
from dataclasses import replace
from time import perf_counter

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6.QtWidgets import QApplication

from moedesk.analysis.heatmap import extend, reduce_blocks
from moedesk.core.store import LoadBlocks
from moedesk.ui.heatmap import HeatmapView
from moedesk.ui.heatmap_rows import HeatmapRows
from moedesk.ui.theme import DARK

FRAMES = 60
NEW = 16  # passes that come in a frame
SIZES = ((900, 260), (1600, 500), (2400, 1000))


def measure(layers: int, experts: int, passes: int) -> None:
    application = QApplication.instance() or QApplication([])
    rng = np.random.default_rng(0)
    offsets = np.arange(0, (layers + 1) * experts, experts)
    counts = rng.poisson(rng.gamma(1.5, 8, layers * experts), (passes + FRAMES * NEW, layers * experts))
    counts = counts.astype(np.uint32)
    rows = HeatmapRows(tuple(f"model.layers.{place}.mlp" for place in range(layers)), tuple(offsets.tolist()))

    def blocks(first: int, last: int) -> LoadBlocks:
        return LoadBlocks(np.arange(first, last + 1), counts[first:last], offsets)

    print(f"{layers} layers × {experts} experts × {passes:,} passes; ms, median (95th percentile) of {FRAMES} frames")
    print(f"{'widget':>12} {'replay':>14} {f'{NEW} new passes':>16} {'all anew':>16}")
    for width, height in SIZES:
        view = HeatmapView(opengl=False)
        view.set_theme(DARK)
        view.resize(width, height)
        view.show()
        view.set_extent(rows, passes)
        view.set_marks(layers // 2, 7, 10)
        extent = view.extent()
        picture = reduce_blocks(blocks(0, passes), passes, extent.lines)
        view.set_picture(picture)
        application.processEvents()
        times: dict[str, list[float]] = {"replay": [], "new": [], "anew": []}
        for frame in range(FRAMES):
            start = perf_counter()
            view.set_cursor(frame)
            application.processEvents()
            replayed = perf_counter()
            first = passes + frame * NEW
            newest = reduce_blocks(blocks(first, first + NEW), NEW, extent.lines)
            picture = extend(picture, newest, passes)
            view.set_picture(replace(picture, pass_edges=np.arange(passes + 1)))
            application.processEvents()
            extended = perf_counter()
            anew = reduce_blocks(blocks(0, passes), extent.columns, extent.lines)
            view.set_picture(anew)
            application.processEvents()
            times["replay"].append(1e3 * (replayed - start))
            times["new"].append(1e3 * (extended - replayed))
            times["anew"].append(1e3 * (perf_counter() - extended))
        texts = [f"{np.median(x):.1f} ({np.percentile(x, 95):.1f})" for x in times.values()]
        print(f"{width:>6}×{height:<5} {texts[0]:>14} {texts[1]:>16} {texts[2]:>16}")
        view.close()
        view.deleteLater()
        application.processEvents()


if __name__ == "__main__":
    measure(*(int(argument) for argument in sys.argv[1:4]) if len(sys.argv) > 3 else (48, 128, 2000))
