"""A picture of the app showing a capture, made without a display."""

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from moedesk.core.errors import MoedeskError
from moedesk.core.selection import Kind, Selection

SECONDS = 120


@dataclass(frozen=True)
class Picture:
    """What to show.

    Attributes
    ----------
    file : Path
        The capture.
    panel : str
        Id of the panel in front.
    theme : str
    size : tuple of int
        Width and height of the window in pixels.
    layer, expert, pass_id : int or None
        What to select.
    cursor : int or None
        Where the replay stands.
    """

    file: Path
    panel: str = "network"
    theme: str = "light"
    size: tuple[int, int] = (1400, 900)
    layer: int | None = None
    expert: int | None = None
    pass_id: int | None = None
    cursor: int | None = None

    @property
    def selection(self) -> Selection:
        """What to select, of the most specific kind."""
        kinds = {Kind.EXPERT: self.expert, Kind.LAYER: self.layer, Kind.PASS: self.pass_id}
        kind = next((kind for kind, value in kinds.items() if value is not None), Kind.NOTHING)
        return Selection(kind, pass_id=self.pass_id, layer=self.layer, expert=self.expert)


def take(picture: Picture, output: Path) -> None:
    """Draw the window and save it as a picture (PNG, or what the name's ending says).

    Raises
    ------
    MoedeskError
        If the capture can't be opened, there is no such panel, or the picture can't be saved.
    """
    if sys.platform.startswith("linux"):
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from PySide6.QtCore import QEventLoop, QTimer

    from moedesk.session.settings import Settings
    from moedesk.ui.app import make_application, make_window, when_settled
    from moedesk.ui.crash_log import CrashLog

    application = make_application()
    with tempfile.TemporaryDirectory() as folder:
        window = make_window(Settings(Path(folder) / "settings.json"), mode="off", theme=picture.theme)
        problems: list[str] = []
        log = CrashLog(problems.append)
        loop = QEventLoop()
        window.files.failed.connect(lambda _, line: problems.append(line))
        QTimer.singleShot(SECONDS * 1000, loop, loop.quit)
        try:
            _check_panel(picture.panel, list(window.workspace.docks))
            window.resize(*picture.size)
            window.files.open(picture.file)
            window.workspace.show_panel(picture.panel)
            window.show()
            when_settled(window, loop.quit)
            loop.exec()
            if not problems:
                _select(window.files.current, picture)
                for _ in range(2):  # painting may ask for what only then is known to be in view
                    window.grab()
                    when_settled(window, loop.quit)
                    loop.exec()
            image = window.grab()
        finally:
            window.close()
            window.deleteLater()
            application.processEvents()
            log.remove()
    if problems:
        raise MoedeskError(problems[0])
    if not image.save(str(output)):
        raise MoedeskError(
            f"the picture {output} can't be written; choose a folder that exists and a name ending in .png"
        )


def _check_panel(panel: str, panels: list[str]) -> None:
    if panel not in panels:
        raise MoedeskError(f"there is no panel {panel!r}; choose one of {', '.join(panels)}")


def _select(session, picture: Picture) -> None:  # type: ignore[no-untyped-def]  # a Session or None
    if session is None:
        return
    store = session.store
    if picture.layer is not None:
        store.model.layer(picture.layer)
    for number in (picture.pass_id, picture.cursor):
        if number is not None and not 0 <= number < store.n_passes:
            raise MoedeskError(f"there is no pass {number}; the capture has {store.n_passes} (the first is 0)")
    session.select(picture.selection)
    session.seek(picture.cursor)
