"""How axes mark layers and experts on which overrides act: a star behind the layer, a diamond beside the expert's row."""

from collections.abc import Callable

from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QPainter, QPolygonF

from moedesk.ui.heatmap_rows import HeatmapRows
from moedesk.ui.theme import Theme

Places = frozenset[tuple[int, int | None]]
"""Layers (with None) and experts, as ``Overriding.places`` has them."""
_HALF = 2.5  # of a diamond, in pixels


def layer_text(layer: int, places: Places) -> str:
    """Return what an axis calls a layer: ``L3``, or ``L3*`` where an override acts."""
    return f"L{layer}*" if (layer, None) in places else f"L{layer}"


def draw_diamonds(
    painter: QPainter, theme: Theme, places: Places, rows: HeatmapRows, y_of: Callable[[float], float], right: float
) -> None:
    """Draw a diamond beside the row of each expert on which an override acts.

    Parameters
    ----------
    y_of : callable
        From a row to pixels.
    right : float
        Edge of the axis, in pixels.
    """
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(theme.color("warning"))
    for layer, expert in places:
        if expert is None or layer >= rows.layers:
            continue
        x, y = right - _HALF - 1, y_of(rows.span(layer)[0] + expert + 0.5)
        corners = (QPointF(x - _HALF, y), QPointF(x, y - _HALF), QPointF(x + _HALF, y), QPointF(x, y + _HALF))
        painter.drawPolygon(QPolygonF(corners))
