"""Asks the OpenGL driver who it is, in a process of its own: a broken driver takes only that one down.

``python -m moedesk.ui.opengl_probe`` prints ``{"vendor", "renderer", "version"}`` or ``{"error"}`` as JSON.
"""

import json
import sys

GL_VENDOR, GL_RENDERER, GL_VERSION = 0x1F00, 0x1F01, 0x1F02


def probe() -> dict[str, str]:
    """Return the driver's names for itself; needs a running QGuiApplication."""
    from PySide6.QtGui import QOffscreenSurface, QOpenGLContext

    context = QOpenGLContext()
    if not context.create():
        return {"error": "no OpenGL context could be made"}
    surface = QOffscreenSurface()
    surface.setFormat(context.format())
    surface.create()
    if not context.makeCurrent(surface):
        return {"error": "the OpenGL context could not be used"}
    functions = context.functions()
    names = {"vendor": GL_VENDOR, "renderer": GL_RENDERER, "version": GL_VERSION}
    answer = {name: str(functions.glGetString(number) or "") for name, number in names.items()}
    context.doneCurrent()
    return answer


def main() -> int:
    """Print the answer as JSON."""
    from PySide6.QtGui import QGuiApplication

    application = QGuiApplication(sys.argv[:1])
    print(json.dumps(probe()))
    del application
    return 0


if __name__ == "__main__":
    sys.exit(main())
