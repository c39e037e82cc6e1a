"""Theme and zoom of the whole application."""

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QFont, QGuiApplication
from PySide6.QtWidgets import QApplication

from moedesk.session.settings import Settings
from moedesk.ui.style_sheet import style_sheet
from moedesk.ui.theme import DARK, LIGHT, THEMES, Theme

CHOICES = ("system", "light", "dark")
ZOOMS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0)


class Appearance(QObject):
    """Applies theme and zoom to the application, and keeps the choice in the settings."""

    changed = Signal()

    def __init__(self, settings: Settings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        kept = settings.get("theme", "system")
        self.choice: str = kept if kept in CHOICES else "system"
        zoom = settings.get("zoom", 1.0)
        self.zoom: float = zoom if zoom in ZOOMS else 1.0
        self._applied: tuple[str, float] | None = None
        self._base = _base_font()
        QGuiApplication.styleHints().colorSchemeChanged.connect(self._scheme_changed)

    @property
    def theme(self) -> Theme:
        """The theme in use."""
        if self.choice in THEMES:
            return THEMES[self.choice]
        dark = QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark
        return DARK if dark else LIGHT

    def choose(self, choice: str, *, keep: bool = True) -> None:
        """Switch to ``light``, ``dark`` or ``system``."""
        self.choice = choice
        if keep:
            self._settings.set("theme", choice)
        self.apply()

    def step_zoom(self, step: int) -> None:
        """Make everything a step larger or smaller; 0 goes back to normal."""
        place = ZOOMS.index(1.0) if step == 0 else ZOOMS.index(self.zoom) + step
        self.zoom = ZOOMS[min(max(place, 0), len(ZOOMS) - 1)]
        self._settings.set("zoom", self.zoom)
        self.apply()

    def apply(self) -> None:
        """Give the application its colours and its font, if they changed."""
        wanted = (self.theme.name, self.zoom)
        if wanted == self._applied:
            return
        self._applied = wanted
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        theme = self.theme
        application.setPalette(theme.palette)
        font = QFont(self._base)
        font.setPointSizeF(self._base.pointSizeF() * self.zoom)
        application.setFont(font)
        application.setStyleSheet(style_sheet(theme))
        self.changed.emit()

    def _scheme_changed(self, _: Qt.ColorScheme) -> None:
        self.apply()


def _base_font() -> QFont:
    """Return the application's own font, remembered the first time since later ones are zoomed."""
    application = QApplication.instance()
    assert application is not None
    base = application.property("moedesk_base_font")
    if base is None:
        base = QApplication.font()
        application.setProperty("moedesk_base_font", base)
    return base
