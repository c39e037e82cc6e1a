"""The layout of the window, kept between runs."""

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QByteArray

if TYPE_CHECKING:
    from moedesk.ui.window import Window

START_SIZE = (1280, 800)
_KEY = "layout"


def restore_layout(window: "Window") -> None:
    """Take over what ``keep_layout`` kept in an earlier run; what doesn't fit is left as it is."""
    layout: Any = window.settings.get(_KEY)
    window.resize(*START_SIZE)
    if isinstance(layout, dict):
        geometry = layout.get("geometry")
        if isinstance(geometry, str):
            window.restoreGeometry(QByteArray.fromBase64(geometry.encode("ascii")))
        window.workspace.restore_layout(layout)


def keep_layout(window: "Window") -> None:
    """Write size, docks and what the panels of the current session keep to the settings."""
    if window.files.current is not None:
        window.workspace.collect_state(window.files.current)
    geometry = bytes(window.saveGeometry().toBase64().data()).decode("ascii")
    window.settings.set(_KEY, {"geometry": geometry, **window.workspace.save_layout()})
    window.settings.save()
