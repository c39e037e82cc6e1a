"""Icons: the SVG files of ``resources/icons``, in the theme's colours."""

from functools import cache

from PySide6.QtCore import QByteArray, QRectF, Qt
from PySide6.QtGui import QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

from moedesk.core.errors import MoedeskError
from moedesk.core.resources import resource
from moedesk.ui.theme import Theme

_SIZES = (16, 24, 32, 48, 64)


def icon(name: str, theme: Theme, role: str = "text") -> QIcon:
    """Return an icon drawn in a colour of the theme, greyer when disabled; an empty one if there is no such file."""
    return _icon(name, getattr(theme, role), theme.border) if name else QIcon()


@cache
def _icon(name: str, color: str, disabled: str) -> QIcon:
    try:
        source = resource("icons", f"{name}.svg").read_text(encoding="utf-8")
    except MoedeskError:
        return QIcon()
    result = QIcon()
    for mode, stroke in ((QIcon.Mode.Normal, color), (QIcon.Mode.Disabled, disabled)):
        renderer = QSvgRenderer(QByteArray(source.replace("currentColor", stroke).encode()))
        for size in _SIZES:
            result.addPixmap(_draw(renderer, size), mode)
    return result


def _draw(renderer: QSvgRenderer, size: int) -> QPixmap:
    pixmap = QPixmap(size, size)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    renderer.render(painter, QRectF(0, 0, size, size))
    painter.end()
    return pixmap
