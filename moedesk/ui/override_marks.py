"""How axes mark layers and experts that overrides are about.

Where they acted on the passes shown: a star behind the layer, a filled diamond beside the expert's row. Where they are on now but
acted on none of these passes: a ring behind the layer, an empty diamond.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QPainter, QPolygonF

from moedesk.session.overridden import Overridden, Places
from moedesk.ui.heatmap_rows import HeatmapRows
from moedesk.ui.theme import Theme

_HALF = 2.5  # of a diamond, in pixels


@dataclass(frozen=True)
class OverrideMarks:
    """What axes mark: layers (with None) and experts.

    Attributes
    ----------
    acted : frozenset
        Where overrides acted on the passes shown.
    waiting : frozenset
        Where one is on now that acted on none of them.
    """

    acted: Places = frozenset()
    waiting: Places = frozenset()

    @classmethod
    def of(cls, overridden: Overridden) -> Self:
        """Return the marks of the passes shown."""
        return cls(overridden.places, overridden.waiting_places)


NO_MARKS = OverrideMarks()


def layer_text(layer: int, marks: OverrideMarks) -> str:
    """Return what an axis calls a layer: ``L3``, ``L3*`` where an override acted, ``L3°`` where one is on now."""
    return f"L{layer}{'*' if (layer, None) in marks.acted else '°' if (layer, None) in marks.waiting else ''}"


def draw_diamonds(
    painter: QPainter,
    theme: Theme,
    marks: OverrideMarks,
    rows: HeatmapRows,
    y_of: Callable[[float], float],
    right: float,
) -> None:
    """Draw a diamond beside the row of each expert that an override is about.

    Parameters
    ----------
    y_of : callable
        From a row to pixels.
    right : float
        Edge of the axis, in pixels.
    """
    color = theme.color("warning")
    painter.setPen(color)
    for places, filled in ((marks.waiting, False), (marks.acted, True)):
        painter.setBrush(color if filled else Qt.BrushStyle.NoBrush)
        for layer, expert in places:
            if expert is None or layer >= rows.layers:
                continue
            x, y = right - _HALF - 1, y_of(rows.span(layer)[0] + expert + 0.5)
            corners = (QPointF(x - _HALF, y), QPointF(x, y - _HALF), QPointF(x + _HALF, y), QPointF(x, y + _HALF))
            painter.drawPolygon(QPolygonF(corners))
