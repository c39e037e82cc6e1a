"""The Explain tab: why the selected token went where it went, what its experts did, and what other routes would have done."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QStackedWidget, QTabBar, QVBoxLayout, QWidget

from moedesk.core.attribution import Attribution, Explanation, Why
from moedesk.panels.network.model_explain import AboutToken, Stored, about_token, links, stored, when
from moedesk.panels.network.view_ask_bar import AskBar
from moedesk.panels.network.view_attribution import AttributionPage
from moedesk.panels.network.view_other_routes import OtherRoutesPage
from moedesk.panels.network.view_why import WhyPage
from moedesk.session.session import Session
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.theme import Theme

NOTHING = "Click a token in the Tokens tab to have its routing explained."
STORED = "Stored, made {created}. New ones need the attached model."
Page = WhyPage | AttributionPage | OtherRoutesPage


class ExplainTab(QWidget):
    """Shows what is known of the selected token, and asks the model for more.

    Signals
    -------
    picked : Selection
        An expert or a layer was clicked.
    """

    picked = Signal(object)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._asked: tuple[int, str | None, bool] | None = None
        self._about: AboutToken | None = None
        self.why, self.attribution, self.routes = WhyPage(), AttributionPage(), OtherRoutesPage()
        self.pages: tuple[Page, ...] = (self.why, self.attribution, self.routes)
        self.choice = QTabBar()
        self.heading = ElidedLabel(NOTHING)
        self.bar = AskBar()
        self.nothing, self.links = QLabel(), QLabel()
        self._stored: list[Stored] = []
        self.stack = QStackedWidget()
        self.area = QScrollArea()
        self._lay_out()
        self.choice.currentChanged.connect(self._show)
        self.links.linkActivated.connect(self._go)
        self.bar.asked.connect(self.ask)
        self.bar.cancelled.connect(session.explaining.cancel)
        self.attribution.target.returnPressed.connect(self.ask)
        for page in self.pages:
            page.picked.connect(self.picked)

    def _lay_out(self) -> None:
        self.choice.setDrawBase(False)
        self.choice.setExpanding(False)
        self.choice.setAccessibleName("What is explained")
        for page in self.pages:
            self.choice.setTabToolTip(self.choice.addTab(page.title), page.empty)
            self.stack.addWidget(page)
        self.bar.options.addWidget(self.attribution.target, 2)
        self.bar.options.addWidget(self.attribution.quantity, 3)
        self.bar.options.addWidget(self.routes.scope, 1)
        for label in (self.nothing, self.links):
            label.setWordWrap(True)
            label.setAlignment(Qt.AlignmentFlag.AlignTop)
            label.setContentsMargins(6, 4, 6, 4)
        self.links.setTextFormat(Qt.TextFormat.RichText)
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.nothing)
        column.addWidget(self.links)
        column.addWidget(self.stack)
        column.addStretch(1)
        self.area.setWidget(inside)
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(QFrame.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        heading = QHBoxLayout()
        heading.setContentsMargins(6, 0, 6, 0)
        heading.addWidget(self.heading)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 2, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.choice)
        column.addLayout(heading)
        column.addWidget(self.bar)
        column.addWidget(self.area, 1)

    @property
    def page(self) -> Page:
        """The page in front."""
        return self.pages[max(self.choice.currentIndex(), 0)]

    def show_page(self, kind: type[Explanation]) -> None:
        """Bring a page to the front."""
        self.choice.setCurrentIndex([page.kind for page in self.pages].index(kind))

    def refresh(self, changed: frozenset[str]) -> None:
        """Take over what changed in the session."""
        if changed & {"selection", "explaining", "live"}:
            self._show()

    def ask_if_unknown(self) -> None:
        """Ask the model for what the page in front shows, unless it shows something."""
        self._show()
        if self.stack.isHidden():
            self.ask()

    def ask(self) -> None:
        """Ask the model for what the page in front shows."""
        selected = self._session.selection
        if selected.token is None:
            return
        options = self.page.options()
        if self.page is self.why:
            options["layer"] = self._layer
        if self.page is self.routes:
            options["layers"] = None if options["layers"] == "all" else [self._layer]
        self._session.explaining.ask(self.page.kind, selected.token, selected.stream, options)

    @property
    def _layer(self) -> int:
        """The selected layer, else the first of the token's stream."""
        session = self._session
        stream = session.selection.stream or next(iter(session.store.model.streams), "main")
        mine = [layer.place for layer in session.store.model.layers if layer.stream == stream]
        chosen = session.selection.layer
        return chosen if chosen in mine else mine[0] if mine else 0

    def _show(self) -> None:
        session, page = self._session, self.page
        selected, explaining = session.selection, session.explaining
        explaining.load()
        there = selected.token is not None
        can_ask = there and explaining.asking is None and not explaining.why_not
        for part in (self.attribution.target, self.attribution.quantity):
            part.setVisible(can_ask and page is self.attribution)
        self.routes.scope.setVisible(can_ask and page is self.routes)
        self.bar.setVisible(there)
        self._list_stored()
        if selected.token is None:
            self._about = self._asked = None
            self.heading.setText(NOTHING)
            self.stack.hide()
            self.nothing.hide()
            return
        found = explaining.find(page.kind, selected.token, selected.stream, self._layer if page.kind is Why else None)
        page.show_found(found)
        if isinstance(page, OtherRoutesPage):
            page.show_layer(self._layer)
        looks = isinstance(found, Attribution) and bool(found.attention.size)
        self._ask_about(selected.token, selected.stream, looks)
        self._say_heading()
        self.stack.setCurrentWidget(page)
        self.stack.setVisible(found is not None)
        self.links.setVisible(found is None and bool(self._stored))
        self.nothing.setVisible(found is None)
        self.nothing.setText(page.empty)
        again = f"{page.verb} again" if found is not None and not page.verb.endswith("?") else page.verb
        stored = "" if found is None else STORED.format(created=when(found.created))
        self.bar.show_state(again, explaining.asking, explaining.problem, explaining.why_not, stored)

    def _list_stored(self) -> None:
        """List what was explained of other tokens."""
        store = self._session.store
        main = next(iter(store.model.streams), "main")
        self._stored = stored(self._session.explaining.all, main, store.n_tokens())
        self.links.setText(links(self._stored))
        self.links.setVisible(bool(self._stored))

    def _go(self, place: str) -> None:
        """Go to something that was explained."""
        chosen = self._stored[int(place)]
        self.picked.emit(chosen.selection)
        self.show_page(chosen.kind)

    def _ask_about(self, row: int, stream: str | None, texts: bool) -> None:
        """Have the token read: its name, and the texts that attention looks at."""
        asked = row, stream, texts
        if asked == self._asked:
            return
        if self._asked is None or self._asked[:2] != asked[:2]:
            self._about = None
        self._asked = asked
        store = self._session.store
        self._session.jobs.latest(
            "network.explain", lambda _: about_token(store, row, stream, texts), self._name, self._unnamed
        )

    def _name(self, about: AboutToken) -> None:
        self._about = about
        self.attribution.texts = about.texts
        self._say_heading()

    def _unnamed(self, error: Exception) -> None:
        self.heading.setText(f"The token could not be read: {error}")

    def _say_heading(self) -> None:
        if self._about is not None:
            where = f" at L{self._layer}" if self.page is self.why else ""
            self.heading.setText(f"{self._about.name}{where} · {self._about.place}")

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.bar.set_theme(theme)
        for page in self.pages:
            page.set_theme(theme)
