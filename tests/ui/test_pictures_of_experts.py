"""The matrix, the graph and the Sankey: where things lie, what they say, and what a click names."""

from itertools import pairwise

import numpy as np
import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from moedesk.ui.flow import Flow, FlowPicture, Node
from moedesk.ui.friend_graph import RADIUS, FriendGraph
from moedesk.ui.graph import GraphEdge, GraphNode
from moedesk.ui.matrix import Matrix, largest_of_blocks
from moedesk.ui.sankey import Sankey
from moedesk.ui.theme import DARK, FIRST_LEVEL, LIGHT, Theme

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def matrix(qtbot: QtBot) -> Matrix:
    made = Matrix("pairs")
    qtbot.addWidget(made)
    made.resize(420, 300)
    return made


def square(size: int, seed: int = 1) -> np.ndarray:
    values = np.random.default_rng(seed).random((size, size))
    np.fill_diagonal(values, np.nan)
    return values


def test_blocks_are_the_largest_of_what_they_hold() -> None:
    values = square(11)
    values[8:, 8:] = np.nan
    got = largest_of_blocks(values, 4)
    assert got.shape == (3, 3)
    for i in range(3):
        for j in range(3):
            block = values[4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
            np.testing.assert_equal(got[i, j], np.nanmax(block) if np.isfinite(block).any() else np.nan)
    assert largest_of_blocks(values, 1) is values


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_cells_have_the_colours_of_their_values(matrix: Matrix, theme: Theme) -> None:
    values = square(6)
    matrix.set_theme(theme)
    matrix.set_values(values, -1, "{value}")
    image, area = matrix.grab().toImage(), matrix.area
    cell = area.width() / 6
    for i, j in ((0, 1), (5, 2), (3, 3)):
        pixel = image.pixelColor(int(area.left() + (j + 0.5) * cell), int(area.top() + (i + 0.5) * cell))
        if i == j:
            assert pixel == QColor(theme.missing)
        else:
            level = FIRST_LEVEL + round(values[i, j] / np.nanmax(values) * (255 - FIRST_LEVEL))
            assert pixel == QColor(*theme.load_lut[level].tolist())


def test_a_click_names_the_row_under_it(matrix: Matrix, qtbot: QtBot) -> None:
    matrix.set_values(square(8), 2, "{row} → {column}: {value:.2f}")
    area = matrix.area
    place = QPointF(area.left() + 6.5 * area.width() / 8, area.top() + 3.5 * area.height() / 8)
    with qtbot.waitSignal(matrix.picked) as picked:
        QTest.mouseClick(matrix, LEFT, pos=place.toPoint())
    assert picked.args == [3]
    assert matrix.hint_at(place) == f"3 → 6: {matrix.values[3, 6]:.2f}"
    assert matrix.hint_at(QPointF(1, 1)) == ""


def test_many_experts_share_cells_and_the_hint_names_the_largest_pair(matrix: Matrix, qtbot: QtBot) -> None:
    values = square(1000) * 0.5
    values[700, 300] = 2.0
    with qtbot.waitSignal(matrix.reduced) as reduced:
        matrix.set_values(values, 5, "{row} → {column}")
    factor = reduced.args[0]
    assert factor == matrix.factor > 1
    area = matrix.area
    cells = -(-1000 // factor)
    assert area.width() % cells == 0
    place = QPointF(
        area.left() + (300 // factor + 0.5) * area.width() / cells,
        area.top() + (700 // factor + 0.5) * area.height() / cells,
    )
    assert matrix.cell_at(place) == (700, 300)
    assert f"the largest of {factor} × {factor} pairs" in matrix.hint_at(place)
    assert area.right() <= matrix.width()
    assert area.bottom() <= matrix.height()


PICTURE = FlowPicture(
    ("a", "b", "c"),
    (
        (Node("a0", 60, "first", (0, 0), 0), Node("a1", 40, "second", (0, 1), 1)),
        (Node("b0", 100, "middle", (1, 0), 2),),
        (Node("c0", 70, "last", (2, 0), 3), Node("others", 30, "rest")),
    ),
    (Flow(0, 0, 0, 60, "60 on"), Flow(0, 1, 0, 40, "40 on"), Flow(1, 0, 0, 70, "70 on"), Flow(1, 0, 1, 30, "30 on")),
)


@pytest.fixture
def sankey(qtbot: QtBot) -> Sankey:
    made = Sankey("paths")
    qtbot.addWidget(made)
    made.resize(600, 260)
    made.set_picture(PICTURE)
    return made


def test_nodes_are_as_high_as_their_amounts_and_apart(sankey: Sankey) -> None:
    heights = {}
    for column, nodes in enumerate(PICTURE.columns):
        rects = [sankey.node_rect(column, place) for place in range(len(nodes))]
        assert all(above.bottom() < below.top() for above, below in pairwise(rects))
        assert rects[-1].bottom() <= sankey.height()
        assert rects[0].right() <= sankey.width()
        heights |= {node.name: rect.height() / node.amount for node, rect in zip(nodes, rects, strict=True)}
    assert len({round(height, 9) for height in heights.values()}) == 1


def test_ribbons_start_and_end_at_their_nodes(sankey: Sankey) -> None:
    for flow in PICTURE.flows:
        source = sankey.node_rect(flow.column, flow.source)
        if flow.column == 0:  # one flow leaves each of these, through its whole height
            assert sankey.flow_at(QPointF(source.right() + 1, source.center().y())) is flow
    target = sankey.node_rect(1, 0)
    assert sankey.flow_at(QPointF(target.left() - 1, target.top() + 0.3 * target.height())) is PICTURE.flows[0]
    assert sankey.flow_at(QPointF(target.left() - 1, target.top() + 0.8 * target.height())) is PICTURE.flows[1]
    assert sankey.flow_at(QPointF(2, 2)) is None


def test_a_click_on_a_node_names_it_and_on_the_bundled_rest_nothing(sankey: Sankey, qtbot: QtBot) -> None:
    named = []
    sankey.picked.connect(named.append)
    for column, place in ((0, 1), (2, 1), (2, 0)):
        QTest.mouseClick(sankey, LEFT, pos=sankey.node_rect(column, place).center().toPoint())
    assert named == [(0, 1), (2, 0)]


def test_nothing_is_drawn_without_flows(sankey: Sankey) -> None:
    sankey.set_picture(FlowPicture((), (), ()))
    assert sankey.grab().toImage().pixelColor(300, 100) == QColor(LIGHT.surface)
    assert sankey.node_at(QPointF(10, 40)) is None


def test_the_graph_stands_still_and_names_what_is_clicked(qtbot: QtBot) -> None:
    graph = FriendGraph("friends")
    qtbot.addWidget(graph)
    graph.resize(320, 260)
    nodes = tuple(GraphNode(str(e), e, f"expert {e}", (1, e)) for e in (9, 2, 15, 8, 3))
    edges = (GraphEdge(0, 1, 1.0, "strong"), GraphEdge(0, 2, 0.2, "weak"), GraphEdge(1, 3, 0.5, "friends"))
    graph.set_graph(nodes, edges)
    centres = [graph.centre(place) for place in range(5)]
    assert centres[0] == QPointF(160, 130)
    assert centres[1].x() == pytest.approx(160)  # the strongest is at the top, then clockwise
    assert centres[1].y() < 130 < centres[3].y()
    assert centres[2].x() > 160 > centres[4].x()
    for a in range(5):
        assert all((centres[a] - centres[b]).manhattanLength() > 2 * RADIUS for b in range(a))
    graph.set_graph(nodes, edges)
    assert [graph.centre(place) for place in range(5)] == centres
    with qtbot.waitSignal(graph.picked) as picked:
        QTest.mouseClick(graph, LEFT, pos=centres[2].toPoint())
    assert picked.args == [(1, 15)]
    assert graph.edge_at((centres[0] + centres[1]) / 2) is edges[0]
    assert graph.edge_at(QPointF(3, 3)) is None
    image = graph.grab().toImage()
    assert image.pixelColor((centres[2] + QPointF(0, RADIUS - 4)).toPoint()) == LIGHT.expert_color(15)
