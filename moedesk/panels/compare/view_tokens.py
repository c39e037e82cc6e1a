"""The Tokens tab: aligned texts page by page, and one token layer by layer in A and B."""

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QSplitter,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from moedesk.core.selection import Kind, Selection
from moedesk.panels.compare.model import Comparison
from moedesk.panels.compare.model_text import Contents, Page, contents, page_of, read_page
from moedesk.panels.compare.model_token import TokenLayer, token_layers
from moedesk.panels.compare.spec import SPEC
from moedesk.panels.compare.view_marked_text import MarkedText
from moedesk.session.session import Session
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.icons import icon
from moedesk.ui.row_table import RowTable
from moedesk.ui.theme import LIGHT, Theme

_TITLES = (
    ("Layer", "Place of the MoE layer in this session; ≠ where the sets of experts differ"),
    ("A: expert weight", "Experts in slot order with the weights they received; in brackets those that B doesn't have"),
    ("B: expert weight", "Experts in slot order with the weights they received; in brackets those that A doesn't have"),
    ("Shared", "Experts that both have, of k"),
    ("Margin A", "Score of rank k minus rank k+1 in A, in the score the router ranks by"),
    ("Margin B", "The same in B"),
    ("Weight TV", "½ Σₑ |w_A − w_B|"),
)


class TokensTab(QWidget):
    """Pages through aligned sequences; ``layer_picked`` names a layer of the session."""

    layer_picked = Signal(int)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._comparison: Comparison | None = None
        self._pages: Contents | None = None
        self._layers: tuple[TokenLayer, ...] = ()
        self._number = 0
        self.title, self.legend = ElidedLabel(), QLabel()
        self.text = MarkedText()
        self.table = RowTable("The chosen token in A and B", len(_TITLES))
        self.table.set_titles(_TITLES)
        self.buttons = {
            name: self._button(hint, step, flips)
            for name, hint, step, flips in (
                ("first", "The page before on which a token flips", -1, True),
                ("previous", "The page before", -1, False),
                ("next", "The next page", 1, False),
                ("last", "The next page on which a token flips", 1, True),
            )
        }
        self._lay_out()
        self.text.picked.connect(self._pick_token)
        self.table.cellClicked.connect(lambda row, _: self.layer_picked.emit(self._layers[row].mine))

    def _button(self, hint: str, step: int, flips: bool) -> QToolButton:
        button = QToolButton()
        button.setToolTip(hint)
        button.setAccessibleName(hint)
        button.setIconSize(QSize(14, 14))
        button.clicked.connect(lambda: self.step(step, flips))
        return button

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setContentsMargins(6, 2, 6, 2)
        row.setSpacing(2)
        for button in self.buttons.values():
            row.addWidget(button)
        row.addWidget(self.title, 1)
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setContentsMargins(6, 0, 6, 2)
        self.legend.setToolTip(
            "The first layer at which a token has other experts; tokens without colour have the same everywhere"
        )
        self.splitter = QSplitter(Qt.Orientation.Vertical)
        self.splitter.addWidget(self.text)
        self.splitter.addWidget(self.table)
        self.splitter.setStretchFactor(0, 3)
        self.splitter.setStretchFactor(1, 2)
        self.table.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(row)
        column.addWidget(self.legend)
        column.addWidget(self.splitter, 1)

    def set_comparison(self, comparison: Comparison | None) -> None:
        """Show another comparison: the page of the selected token, else the first on which a token flips."""
        self._comparison, self._pages = comparison, None
        self._show_page(None)
        if comparison is not None:
            self._session.jobs.latest(
                f"{SPEC.id}/contents", lambda _: contents(comparison), self._show_contents, self._fail
            )

    def follow(self) -> None:
        """Show the token that is selected, and mark the layer."""
        selection, comparison, pages = self._session.selection, self._comparison, self._pages
        self._mark_layer()
        page, token = self.text.page, selection.token
        if comparison is None or pages is None or token is None or selection.kind is not Kind.TOKEN:
            return
        here = page.place_of(token) if page is not None and self._in_stream(page, selection.stream) else None
        if here is not None:
            self._mark(here)
            return

        def work(_: object) -> Page | None:
            number = page_of(comparison, pages, token, selection.stream)
            return None if number is None else read_page(comparison, pages, number)

        self._session.jobs.latest(f"{SPEC.id}/page", work, self._show_found, self._fail)

    def step(self, step: int, flips: bool) -> None:
        """Turn to the page before or after; with ``flips``, to one on which a token flips."""
        if self._pages is not None and len(self._pages):
            wanted = self._pages.next_flip(self._number, step) if flips else self._number + step
            self._ask_page(min(max(wanted, 0), len(self._pages) - 1))

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        for name, button in self.buttons.items():
            button.setIcon(icon(name, theme))
        self.text.set_theme(theme)
        self._draw_legend()

    def _in_stream(self, page: Page, stream: str | None) -> bool:
        return page.stream.stream == (stream or (self._session.store.model.streams or ("main",))[0])

    def _show_contents(self, pages: Contents) -> None:
        self._pages, self._number = pages, 0
        if len(pages):
            self._ask_page(0 if pages.flips[0] else pages.next_flip(0, 1))

    def _ask_page(self, number: int) -> None:
        comparison, pages = self._comparison, self._pages
        if comparison is not None and pages is not None:
            self._number = number
            work = lambda _: read_page(comparison, pages, number)  # noqa: E731
            self._session.jobs.latest(f"{SPEC.id}/page", work, self._show_page, self._fail)

    def _show_found(self, page: Page | None) -> None:
        if page is None:
            self.title.setText("The selected token has no counterpart in the other capture.")
        else:
            self._show_page(page)

    def _show_page(self, page: Page | None) -> None:
        self.text.set_page(page)
        self._show_token(())
        self.title.setText("" if page is None else page.title)
        if page is not None:
            self._number = page.number
            selection = self._session.selection
            if selection.kind is Kind.TOKEN and self._in_stream(page, selection.stream):
                here = page.place_of(selection.token)
                if here is not None:
                    self._mark(here)
        self._draw_legend()

    def _pick_token(self, place: int) -> None:
        page = self.text.page
        if page is not None:
            row, number = int(page.mine[place]), int(page.passes[place])
            self._session.select(Selection(Kind.TOKEN, pass_id=number, token=row, stream=page.stream.stream))
            self._mark(place)

    def _mark(self, place: int) -> None:
        page, comparison = self.text.page, self._comparison
        if page is None or comparison is None or (place == self.text.selected and self._layers):
            return
        self.text.set_selected(place)
        a, b = int(page.a[place]), int(page.b[place])
        work = lambda _: token_layers(comparison, page.stream, a, b)  # noqa: E731
        self._session.jobs.latest(f"{SPEC.id}/token", work, self._show_token, self._fail)

    def _show_token(self, layers: tuple[TokenLayer, ...]) -> None:
        self._layers = layers
        self.table.setVisible(bool(layers))
        self.table.setRowCount(len(layers))
        for row, layer in enumerate(layers):
            texts = (
                f"L{layer.mine}{' ≠' if layer.flip else ''}",
                layer.a,
                layer.b,
                layer.overlap,
                *("–" if value != value else f"{value:.3g}" for value in (layer.margin_a, layer.margin_b, layer.tv)),
            )
            for place, text in enumerate(texts):
                self.table.setItem(row, place, QTableWidgetItem(text))
        self._mark_layer()

    def _mark_layer(self) -> None:
        rows = [row for row, layer in enumerate(self._layers) if layer.mine == self._session.selection.layer]
        self.table.clearSelection()
        if rows:
            self.table.selectRow(rows[0])

    def _draw_legend(self) -> None:
        page = self.text.page
        self.legend.setVisible(page is not None)
        if page is None:
            return
        shown = sorted(set(page.first[page.first >= 0].tolist()))
        chips = [_chip(f"L{page.stream.layers[layer].layer.place}", self.text, layer) for layer in shown[:24]]
        more = f" and {len(shown) - 24} more" if len(shown) > 24 else ""
        self.legend.setText(f"First flip: {' '.join(chips)}{more}" if chips else "No token flips on this page.")

    def _fail(self, error: Exception) -> None:
        self.title.setText(f"This could not be read: {error}")


def _chip(name: str, text: MarkedText, layer: int) -> str:
    color = text.color_of(layer)
    return f"<span style='background:{color.name()};color:{LIGHT.text_on(color).name()}'>&nbsp;{name}&nbsp;</span>"
