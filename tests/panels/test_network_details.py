"""The tabs beside the table of the Network panel: tokens, routing, numbers, raw, against the store's own columns."""

import numpy as np
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMenu

from moedesk.core.selection import Kind, Selection
from moedesk.panels.network.view import NetworkPanel
from tests.support.memory_store import memory_store
from tests.support.network_panel import click_row, click_token, network_stage, twenty_passes  # noqa: F401
from tests.support.stage import Stage

LEFT = Qt.MouseButton.LeftButton


def test_tokens_are_shown_with_their_first_expert(stage, store):
    click_row(stage, 5)
    text = stage.panel.details.tokens.text
    i, j = store.token_span(5, 6)
    picture = text.viewport().grab().toImage()
    theme = stage.shell.theme
    for row in range(i, j):
        if store.streams["main"]["is_padding"][row]:
            assert text.rect_of(row) is None  # hidden until asked for
            continue
        best = int(np.argmax(store.layers[0].weights[row]))
        color = theme.expert_color(int(store.layers[0].experts[row, best]))
        corner = text.rect_of(row).topLeft().toPoint() + QPoint(2, 1)
        assert picture.pixelColor(corner).name() == color.name()


def test_hovering_a_token_lists_all_its_experts(stage, store):
    click_row(stage, 5)
    row = store.token_span(5, 6)[0] + 4
    hint = stage.panel.details.tokens.text.hint(row)
    for expert, weight in zip(store.layers[0].experts[row], store.layers[0].weights[row], strict=True):
        assert f"expert {expert}   weight {weight:.4f}" in hint
    assert f"{store.layers[0].entropy[row]:.3f} nats" in hint
    assert f"margin {store.layers[0].margin[row]:.3f}" in hint


def test_a_token_is_picked_by_mouse_and_keys_and_routed(stage, store):
    click_row(stage, 5)
    row = next(row for row in range(*store.token_span(5, 6)) if not store.streams["main"]["is_padding"][row])
    click_token(stage, row)
    assert (stage.session.selection.kind, stage.session.selection.token) == (Kind.TOKEN, row)
    stage.panel.details.setCurrentWidget(stage.panel.details.routing)
    stage.settle()
    routing = stage.panel.details.routing
    assert routing.table.rowCount() == 3
    for layer in range(3):
        experts, weights = store.layers[layer].experts[row], store.layers[layer].weights[row]
        order = np.argsort(-weights, kind="stable")
        for rank, slot in enumerate(order):
            wanted = f"{experts[slot]}   {weights[slot]:.3f}" if experts[slot] >= 0 else "dropped"
            assert routing.table.index(layer, rank + 1).data() == wanted
        assert routing.table.index(layer, 3).data() == f"{store.layers[layer].entropy[row]:.3f}"
    index = routing.table.index(2, 1)
    stage.qtbot.mouseClick(routing.view.viewport(), LEFT, pos=routing.view.visualRect(index).center())
    selected = stage.session.selection
    best = int(np.argmax(store.layers[2].weights[row]))
    assert (selected.kind, selected.layer) == (Kind.EXPERT, 2)
    assert selected.expert == store.layers[2].experts[row][best]
    assert selected.token == row


def test_keys_walk_through_the_tokens(stage, store):
    click_row(stage, 6)
    i, _ = store.token_span(6, 7)
    click_token(stage, i)
    stage.qtbot.keyClick(stage.panel.details.tokens.text, Qt.Key.Key_Right)
    assert stage.session.selection.token == i + 1


def test_the_layer_box_selects_the_layer(stage):
    box = stage.panel.details.tokens.layer_box
    box.setFocus()
    stage.qtbot.keyClick(box, Qt.Key.Key_Down)
    stage.settle()
    assert (stage.session.selection.kind, stage.session.selection.layer) == (Kind.LAYER, 1)
    assert stage.panel.details.tokens.text.page.tokens.layer.place == 1


def test_padding_can_be_shown(qtbot):
    store = memory_store(passes=3, tokens=30, padding=0.5)
    with Stage(qtbot, store, NetworkPanel) as stage:
        tokens = stage.panel.details.tokens
        row = int(np.flatnonzero(store.streams["main"]["is_padding"])[0])
        assert tokens.text.rect_of(row) is None
        tokens.padding_box.click()
        stage.settle()
        assert tokens.text.rect_of(row) is not None


def test_passes_in_view_read_on_from_prompt_to_decode(stage, store):
    tokens = stage.panel.details.tokens
    tokens.scope_box.setCurrentIndex(1)
    tokens.scope_box.activated.emit(1)
    stage.session.brush((0, 5))
    stage.settle()
    page = tokens.text.page
    sequences = page.tokens.tokens["sequence"][page.order]
    columns = page.tokens.tokens["column"][page.order]
    assert sequences.tolist() == [0] * 16 + [1] * 16
    assert columns.tolist() == list(range(16)) * 2


def test_a_token_revealed_from_elsewhere_is_scrolled_to(qtbot):
    store = memory_store(passes=3, tokens=400, padding=0)
    with Stage(qtbot, store, NetworkPanel, size=(800, 500)) as stage:
        stage.session.select(Selection(Kind.TOKEN, layer=2, token=750))
        stage.settle()
        text = stage.panel.details.tokens.text
        assert stage.panel.details.tokens.layer_box.currentIndex() == 2
        assert text.verticalScrollBar().value() > 0
        assert text.viewport().rect().contains(text.rect_of(750).center().toPoint())


def test_numbers_and_raw_follow_the_pass(stage, store):
    details = stage.panel.details
    details.setCurrentWidget(details.numbers)
    click_row(stage, 5)
    assert "Pass 5" in details.numbers.header.text()
    counts = store.counts(1, "pass")[5]
    assert details.numbers.table.item(1, 1).text() == f"{counts.sum():,}"
    assert details.numbers.table.item(1, 3).text() == f"{counts.max() / counts.mean() - 1:.3f}"
    details.setCurrentWidget(details.raw)
    stage.settle()
    lines = details.raw.text.toPlainText().splitlines()
    i, j = store.token_span(5, 6)
    assert len(lines) == 1 + 2 * (j - i)
    assert lines[1].split("\t")[-2] == str(store.layers[0].experts[i, 0])


def test_copying_the_text(stage, store):
    click_row(stage, 5)
    i, j = store.token_span(5, 6)
    menu = QMenu()
    stage.panel.fill_menu(menu, Selection(Kind.TOKEN, pass_id=5, layer=0, token=i))
    next(action for action in menu.actions() if action.text() == "Copy text of all tokens shown").trigger()
    stage.settle()
    assert QGuiApplication.clipboard().text() == store.text(i, j)
    menu.deleteLater()
