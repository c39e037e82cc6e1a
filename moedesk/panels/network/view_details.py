"""The details sidebar: Tokens, Routing, Explain, Numbers, Raw, Training. Only the tab in front asks for anything."""

from PySide6.QtCore import QPoint, Signal
from PySide6.QtWidgets import QTabWidget, QWidget

from moedesk.panels.network.view_explain import ExplainTab
from moedesk.panels.network.view_numbers import NumbersTab
from moedesk.panels.network.view_raw import RawTab
from moedesk.panels.network.view_routing import RoutingTab
from moedesk.panels.network.view_tokens import TokensTab
from moedesk.panels.network.view_training import TrainingTab
from moedesk.session.session import Session
from moedesk.ui.panel import Shell
from moedesk.ui.theme import Theme


class Details(QTabWidget):
    """Shows the pass in question: the one under the replay cursor, else the selected one, else the first in view.

    In a live session with nothing selected it is the newest one, as long as that is followed; then the last one shown.

    Signals
    -------
    menu_asked : Selection, QPoint
    """

    menu_asked = Signal(object, QPoint)

    def __init__(self, session: Session, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._missed: dict[int, set[str]] = {}
        self._newest: int | None = None
        self.tokens = TokensTab(session)
        self.routing = RoutingTab(session)
        self.explain = ExplainTab(session)
        self.numbers = NumbersTab(session)
        self.raw = RawTab(session, shell)
        self.training = TrainingTab(session)
        self.setDocumentMode(True)
        self.setMinimumWidth(220)
        for tab, title, hint in (
            (self.tokens, "Tokens", "The text, coloured by expert"),
            (self.routing, "Routing", "The selected token in all layers"),
            (self.explain, "Explain", "Why the selected token went there, and what that did"),
            (self.numbers, "Numbers", "The pass in numbers, layer by layer"),
            (self.raw, "Raw", "Ids and weights of what is selected"),
            (self.training, "Training", "The training step of the pass, and the gradients of the layer's experts"),
        ):
            self.setTabToolTip(self.addTab(tab, title), hint)
        self.tokens.menu_asked.connect(self.menu_asked)
        self.routing.menu_asked.connect(self.menu_asked)
        self.explain.picked.connect(session.select)
        self.currentChanged.connect(self._catch_up)

    def refresh(self, changed: frozenset[str]) -> None:
        """Take over what changed in the session; tabs behind the front one catch up when they are shown."""
        for place in range(self.count()):
            self._missed.setdefault(place, set()).update(changed)
        self._catch_up()

    def number(self) -> int | None:
        """Return the pass in question, None if there is none."""
        session = self._session
        if not session.store.n_passes:
            return None
        if session.cursor is not None:
            return session.cursor
        if session.selection.pass_id is not None:
            return min(session.selection.pass_id, session.store.n_passes - 1)
        if session.live is None or session.window is not None:
            return session.span[0]
        if session.live.follow or self._newest is None:
            self._newest = session.store.n_passes - 1
        return self._newest

    def _catch_up(self) -> None:
        missed = frozenset(self._missed.pop(self.currentIndex(), set()))
        if not missed or not self.isVisible():
            if missed:
                self._missed[self.currentIndex()] = set(missed)
            return
        match self.currentWidget():
            case self.tokens:
                self.tokens.refresh(missed)
            case self.routing:
                self.routing.refresh(missed)
            case self.explain:
                self.explain.refresh(missed)
            case self.numbers:
                number = self.number()
                self.numbers.refresh(number, newest=number == self._newest)
            case self.raw:
                self.raw.refresh(self.tokens.layer)
            case self.training:
                self.training.refresh(self.number())

    def showEvent(self, event: object) -> None:  # noqa: N802
        """Catch up after having been hidden."""
        super().showEvent(event)  # type: ignore[arg-type]
        self._catch_up()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.tokens.set_theme(theme)
        self.routing.set_theme(theme)
        self.explain.set_theme(theme)
        self.raw.set_theme(theme)
        self.training.set_theme(theme)
