"""Child process: shows the sample in a real window, floats and docks a panel again, and saves what the screen then shows.

    python -m tests.support.xvfb_picture on|off PICTURE.png

Prints as JSON what the status bar says of the renderer.
"""

import json
import sys
import tempfile
from pathlib import Path

from PySide6.QtCore import QEventLoop

from moedesk.core.resources import resource
from moedesk.session.settings import Settings
from moedesk.ui.app import make_application, make_window, when_settled
from moedesk.ui.window import Window


def settle(window: Window) -> None:
    loop = QEventLoop()
    when_settled(window, loop.quit)
    loop.exec()
    window.repaint()


def main(mode: str, output: str) -> None:
    application = make_application()
    with tempfile.TemporaryDirectory() as folder:
        window = make_window(Settings(Path(folder) / "settings.json"), mode=mode, theme="light")
        window.resize(1200, 800)
        window.files.open(resource("sample", "tinymoe.h5"))
        window.workspace.show_panel("network")
        window.show()
        settle(window)
        for _ in range(2):  # a new OpenGL context each time
            window.workspace.float_panel()
            settle(window)
        application.processEvents()
        window.screen().grabWindow(window.winId()).save(output)
        print(json.dumps({"opengl": window.opengl}))
        window.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
