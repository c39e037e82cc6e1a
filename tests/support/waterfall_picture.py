"""Child process: shows the waterfall of a growing store in a real window, floats and docks it, and saves what the screen shows.

    python -m tests.support.waterfall_picture on|off|refused PICTURE.png

Prints as JSON which canvas drew, how many OpenGL contexts it had, and what the status bar says. "refused": through OpenGL, whose
shader the driver rejects.
"""

import json
import sys
import tempfile
from pathlib import Path

from PySide6.QtCore import QEventLoop

from moedesk.session.panel import panel_specs
from moedesk.session.settings import Settings
from moedesk.ui import opengl, waterfall_opengl
from moedesk.ui.app import make_application, when_settled
from moedesk.ui.window import Window
from tests.support.growing_store import growing_store


def settle(window: Window) -> None:
    loop = QEventLoop()
    when_settled(window, loop.quit)
    loop.exec()
    window.repaint()


def main(mode: str, output: str) -> None:
    application = make_application()
    store = growing_store(passes=900, shown=500, layers=4, experts=16)
    contexts: list[object] = []
    made = waterfall_opengl._Resources
    waterfall_opengl._Resources = lambda context: contexts.append(context) or made(context)
    if mode == "refused":
        mode, waterfall_opengl._FRAGMENT, waterfall_opengl._CORE_FRAGMENT = "on", "no shader at all", ""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(Path(folder) / "settings.json")
        window = Window(panel_specs(), settings, opengl.judge(mode, None), lambda _: store)
        window.appearance.choose("light", keep=False)
        window.resize(1200, 800)
        window.files.open(Path("grows.h5"))
        window.workspace.show_panel("waterfall")
        window.show()
        settle(window)
        dock = window.workspace.docks["waterfall"]
        panel = next(host.view for host in dock.findChildren(object) if getattr(host, "view", None) is not None)
        settle(window)  # a refusal is heard of after the first paint
        said = window.statusBar().currentMessage()
        canvas = panel.waterfall.canvas
        for step in range(8):  # more than the ring holds, in steps; a new OpenGL context in between, twice
            store.grow(50)
            window.files.current.changed.emit("store")
            settle(window)
            if step in (2, 5):
                window.workspace.float_panel()
                settle(window)
        application.processEvents()
        screen = window.screen().grabWindow(window.winId())
        corner = canvas.mapTo(window, canvas.rect().topLeft())
        screen.copy(corner.x(), corner.y(), canvas.width(), canvas.height()).save(output)
        drawn = {"canvas": type(canvas).__name__, "contexts": len(contexts), "last": panel.feed.ring.last, "said": said}
        print(json.dumps(drawn))
        window.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
