"""A panel on its own: a session over a store, a window that only notes what it was asked, and a tick after every change."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from moedesk.core.event import Event
from moedesk.core.selection import Kind, Selection
from moedesk.core.store import Store
from moedesk.session.jobs import Jobs
from moedesk.session.panel import PanelSpec
from moedesk.session.session import Session
from moedesk.ui.delivery import Delivery
from moedesk.ui.panel import Panel
from moedesk.ui.theme import LIGHT, Theme

P = TypeVar("P", bound=Panel)


@dataclass
class NotingBeside:
    """Implements what panels ask of ``moedesk.ui.beside.Beside``; a test opens and closes what is beside."""

    sessions: list[Session] = field(default_factory=list)
    changed: Event[Session] = field(default_factory=Event)
    opened: list[Path] = field(default_factory=list)
    noted: list[tuple[Session, Session]] = field(default_factory=list)
    picks: Path | None = None

    def others(self, session: Session) -> tuple[Session, ...]:
        return tuple(other for other in self.sessions if other is not session)

    def open(self, path: Path) -> None:
        self.opened.append(path)

    def ask(self) -> Path | None:
        return self.picks

    def recent(self, session: Session) -> tuple[Path, ...]:
        return tuple(path for path in self.opened if path not in {other.path for other in self.sessions})

    def note(self, session: Session, other: Session) -> None:
        self.noted.append((session, other))


@dataclass
class NotingShell:
    """Implements ``moedesk.ui.panel.Shell``."""

    theme: Theme = LIGHT
    beside: NotingBeside = field(default_factory=NotingBeside)
    opengl: bool = False
    revealed: list[tuple[Selection, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def reveal(self, selection: Selection, panel_id: str) -> None:
        self.revealed.append((selection, panel_id))

    def panels_for(self, kind: Kind) -> tuple[PanelSpec, ...]:
        specs = (
            PanelSpec("network", "Network", "", reveals=frozenset(Kind)),
            PanelSpec("elements", "Elements", "", reveals=frozenset({Kind.LAYER, Kind.EXPERT})),
        )
        return tuple(spec for spec in specs if kind in spec.reveals)

    def say(self, text: str) -> None:
        self.said.append(text)


class Stage:
    """Holds one panel and refreshes it as its dock would.

    Use as a context manager; leaving it closes the session and deletes the panel.
    """

    def __init__(
        self,
        qtbot: Any,
        store: Store,
        view: Callable[[Session, NotingShell], P],
        size: tuple[int, int] = (1000, 700),
        theme: Theme = LIGHT,
        path: Path | None = None,
    ) -> None:
        self.qtbot = qtbot
        self.shell = NotingShell(theme)
        self.delivery = Delivery()
        self.session = Session(store, Jobs(self.delivery), path)
        self.panel = view(self.session, self.shell)
        self.panel.setPalette(theme.palette)
        self.panel.resize(*size)
        self.session.changed.connect(lambda name: self.panel.refresh(frozenset({name})))
        self.panel.show()
        self.panel.refresh(frozenset({"store", "selection", "window", "cursor", "filter"}))

    def __enter__(self) -> "Stage":
        self.settle()
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()
        self.panel.close()
        self.panel.deleteLater()
        self.delivery.deleteLater()

    def settle(self) -> None:
        """Wait until every question is answered and drawn."""
        quiet = [0]

        def still() -> bool:
            quiet[0] = quiet[0] + 1 if self.session.idle else 0
            return quiet[0] > 3

        self.qtbot.waitUntil(still)
