"""A waterfall drawn through OpenGL: the ring is a texture, a frame uploads its new columns, a shader colours them."""

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QEvent, QTimer, Signal
from PySide6.QtGui import QOpenGLContext, QPainter, QSurfaceFormat, QVector4D
from PySide6.QtOpenGL import (
    QOpenGLBuffer,
    QOpenGLPixelTransferOptions,
    QOpenGLShader,
    QOpenGLShaderProgram,
    QOpenGLTexture,
    QOpenGLVertexArrayObject,
)
from PySide6.QtOpenGLWidgets import QOpenGLWidget
from PySide6.QtWidgets import QWidget

from moedesk.ui.waterfall_scene import Scene, paint_marks

_COLOR_BUFFER_BIT, _TRIANGLE_STRIP, _FLOAT, _BLEND = 0x4000, 0x0005, 0x1406, 0x0BE2

_VERTEX = """
attribute vec2 corner;
varying vec2 at;
uniform vec4 shown;  // left, top, width, height in -1 to 1
uniform vec4 part;   // left, top, width, height in the ring, 0 to 1
void main() {
    at = part.xy + corner * part.zw;
    gl_Position = vec4(shown.xy + corner * shown.zw, 0.0, 1.0);
}
"""
_FRAGMENT = """
#ifdef GL_ES
precision highp float;
#endif
varying vec2 at;
uniform sampler2D ring;
uniform sampler2D colours;
void main() {
    float index = texture2D(ring, at).r;
    gl_FragColor = texture2D(colours, vec2((index * 255.0 + 0.5) / 256.0, 0.5));
}
"""
# A core profile knows these words by other names.
_CORE_VERTEX = "#version 150\n#define attribute in\n#define varying out\n"
_CORE_FRAGMENT = (
    "#version 150\n#define varying in\n#define texture2D texture\nout vec4 colour;\n#define gl_FragColor colour\n"
)


class OpenGLCanvas(QOpenGLWidget):
    """Keeps the ring's indexes as a texture; all of it is made anew in each context, as floating a dock makes a new one.

    Signals
    -------
    refused : str
        The driver can't draw it, and why; said once.
    """

    refused = Signal(str)

    def __init__(self, scene: Scene, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = scene
        self._resources: _Resources | None = None
        self._new: list[tuple[int, int]] = []  # columns to upload before the next picture
        self._all = True  # or everything
        self._refused = False
        self.setMouseTracking(True)

    def renew(self) -> None:
        """Take over another ring, or other colours."""
        self._all = True
        self._new.clear()
        self.update()

    def take(self, first: int, last: int) -> None:
        """Upload some columns of the ring with the next picture."""
        if not self._all:
            self._new.append((first, last))
            if sum(last - first for first, last in self._new) > self._capacity:  # not painted for long
                self.renew()
        self.update()

    @property
    def _capacity(self) -> int:
        return self._scene.ring.capacity if self._scene.ring is not None else 0

    def initializeGL(self) -> None:  # noqa: N802
        """Begin anew in this context; what it needs is made with the first picture."""
        self._resources = None

    def event(self, event: QEvent) -> bool:
        """Let go of what lives in a context while it is still there: floating a dock ends it, closing a panel hides it first."""
        if event.type() in (QEvent.Type.Hide, QEvent.Type.WindowAboutToChangeInternal):
            self._release()
        return super().event(event)

    def _make_resources(self) -> "_Resources | None":
        """Make what lives in this context, or say why not."""
        if not self._refused:
            try:
                self._resources = _Resources(self.context())
                self._all = True
            except RuntimeError as error:
                self._refused = True
                reason = str(error)
                QTimer.singleShot(0, self, lambda: self.refused.emit(reason))  # not while it is painted
        return self._resources

    def _release(self) -> None:
        if self._resources is not None:
            self.makeCurrent()
            self._resources.destroy()
            self.doneCurrent()
            self._resources = None

    def paintGL(self) -> None:  # noqa: N802
        """Upload what is new and draw what is in view."""
        resources, scene = self._resources or self._make_resources(), self._scene
        if resources is None:
            return
        ring = scene.ring
        if ring is not None:
            if self._all:
                resources.upload_all(ring["image"], scene.lut)
            else:
                for first, last in self._new:
                    for _, place, length in ring.segments(first, last):
                        resources.upload(ring["image"][:, place : place + length], place)
        self._all = self._all and ring is None
        self._new.clear()
        painter = QPainter(self)
        painter.beginNativePainting()
        surface = scene.theme.color("surface")
        functions = self.context().functions()
        functions.glClearColor(surface.redF(), surface.greenF(), surface.blueF(), 1.0)
        functions.glClear(_COLOR_BUFFER_BIT)
        functions.glDisable(_BLEND)
        if ring is not None:
            resources.draw(scene)
        painter.endNativePainting()
        ratio = self.devicePixelRatioF()
        painter.scale(1 / ratio, 1 / ratio)
        paint_marks(painter, scene)
        painter.end()


class _Resources:
    """What lives in one OpenGL context, which must be current in every call."""

    def __init__(self, context: QOpenGLContext) -> None:
        self._functions = context.functions()
        core = context.format().profile() == QSurfaceFormat.OpenGLContextProfile.CoreProfile
        self._red = context.isOpenGLES() is False and context.format().majorVersion() >= 3
        self._program = QOpenGLShaderProgram()
        kind = QOpenGLShader.ShaderTypeBit
        parts = (
            (kind.Vertex, (_CORE_VERTEX if core else "") + _VERTEX),
            (kind.Fragment, (_CORE_FRAGMENT if core else "") + _FRAGMENT),
        )
        understood = [self._program.addShaderFromSourceCode(part, text) for part, text in parts]
        self._program.bindAttributeLocation("corner", 0)
        if not all(understood) or not self._program.link():  # without one of them it may link all the same
            raise RuntimeError(self._program.log().strip().split("\n")[0] or "its shader could not be built")
        names = ("ring", "colours", "shown", "part")
        self._places = {name: self._program.uniformLocation(name) for name in names}
        self._corners = QOpenGLBuffer()
        self._corners.create()
        self._corners.bind()
        corners = np.array([0, 0, 1, 0, 0, 1, 1, 1], np.float32).tobytes()
        self._corners.allocate(corners, len(corners))
        self._corners.release()
        self._array = QOpenGLVertexArrayObject()
        self._array.create()
        self._options = QOpenGLPixelTransferOptions()
        self._options.setAlignment(1)
        self._ring: QOpenGLTexture | None = None
        self._colours: QOpenGLTexture | None = None

    def upload_all(self, image: npt.NDArray[np.uint8], lut: npt.NDArray[np.uint8]) -> None:
        """Make the textures of a ring and its colours."""
        self._drop_textures()
        kind = QOpenGLTexture.TextureFormat
        self._ring = _texture(image.shape[1], image.shape[0], kind.R8_UNorm if self._red else kind.LuminanceFormat)
        self.upload(image, 0)
        self._colours = _texture(256, 1, kind.RGBA8_UNorm if self._red else kind.RGBAFormat)
        self._set(self._colours, (0, 256, 1), QOpenGLTexture.PixelFormat.RGBA, np.ascontiguousarray(lut))

    def upload(self, columns: npt.NDArray[np.uint8], place: int) -> None:
        """Write columns into the ring's texture."""
        assert self._ring is not None
        pixels = QOpenGLTexture.PixelFormat.Red if self._red else QOpenGLTexture.PixelFormat.Luminance
        self._set(self._ring, (place, columns.shape[1], columns.shape[0]), pixels, np.ascontiguousarray(columns))

    def _set(
        self,
        texture: QOpenGLTexture,
        box: tuple[int, int, int],
        pixels: QOpenGLTexture.PixelFormat,
        data: npt.NDArray[np.uint8],
    ) -> None:
        place, width, height = box
        byte = QOpenGLTexture.PixelType.UInt8
        # The stub says int for void*, where an int that is an address crashes; bytes are copied from.
        texture.setData(place, 0, 0, width, height, 1, pixels, byte, data.tobytes(), self._options)  # type: ignore[call-overload]

    def draw(self, scene: Scene) -> None:
        """Draw the parts of the ring that are in view."""
        if self._ring is None or self._colours is None:
            return
        self._program.bind()
        self._ring.bind(0)
        self._colours.bind(1)
        self._program.setUniformValue1i(self._places["ring"], 0)
        self._program.setUniformValue1i(self._places["colours"], 1)
        if self._array.isCreated():
            self._array.bind()
        self._corners.bind()
        self._program.enableAttributeArray(0)
        self._program.setAttributeBuffer(0, _FLOAT, 0, 2)
        view = scene.viewport
        for shown, source in scene.parts():
            box = QVector4D(
                2 * shown.left() / view.width - 1,
                1 - 2 * shown.top() / view.height,
                2 * shown.width() / view.width,
                -2 * shown.height() / view.height,
            )
            width, height = self._ring.width(), self._ring.height()
            part = QVector4D(source.left() / width, 0, source.width() / width, source.height() / height)
            self._program.setUniformValue(self._places["shown"], box)
            self._program.setUniformValue(self._places["part"], part)
            self._functions.glDrawArrays(_TRIANGLE_STRIP, 0, 4)
        self._program.disableAttributeArray(0)
        self._corners.release()
        if self._array.isCreated():
            self._array.release()
        self._colours.release(1)
        self._ring.release(0)
        self._program.release()

    def _drop_textures(self) -> None:
        for texture in (self._ring, self._colours):
            if texture is not None:
                texture.destroy()
        self._ring = self._colours = None

    def destroy(self) -> None:
        """Free everything."""
        self._drop_textures()
        self._array.destroy()
        self._corners.destroy()
        self._program.removeAllShaders()


def _texture(width: int, height: int, kind: QOpenGLTexture.TextureFormat) -> QOpenGLTexture:
    texture = QOpenGLTexture(QOpenGLTexture.Target.Target2D)
    texture.setFormat(kind)
    texture.setSize(width, height)
    texture.setMipLevels(1)
    texture.allocateStorage()
    texture.setMinMagFilters(QOpenGLTexture.Filter.Nearest, QOpenGLTexture.Filter.Nearest)
    texture.setWrapMode(QOpenGLTexture.WrapMode.ClampToEdge)
    return texture
