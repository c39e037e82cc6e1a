"""The waterfall drawn through OpenGL on a virtual screen looks as the one drawn in raster, also in a new context."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtGui import QImage

from tests.support.until import PATIENCE

pytestmark = pytest.mark.skipif(
    shutil.which("Xvfb") is None, reason="no virtual screen: install xvfb and libgl1-mesa-dri"
)


def picture(mode: str, display: str, path: Path) -> tuple[np.ndarray, dict[str, object]]:
    environment = {**os.environ, "DISPLAY": display, "QT_QPA_PLATFORM": "xcb"}
    command = [sys.executable, "-m", "tests.support.waterfall_picture", mode, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert mode == "refused" or "shader" not in done.stderr
    assert "current context" not in done.stderr
    image = QImage(str(path)).convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    pixels = rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)
    return pixels, json.loads(done.stdout)


def test_opengl_shows_what_raster_shows_also_after_floating_and_docking(display: str, tmp_path: Path) -> None:
    raster, drawn = picture("off", display, tmp_path / "raster.png")
    opengl, through = picture("on", display, tmp_path / "opengl.png")
    assert (drawn["canvas"], through["canvas"]) == ("RasterCanvas", "OpenGLCanvas")
    assert drawn["last"] == through["last"] == 900
    assert int(str(through["contexts"])) >= 3  # at first, floated, docked
    assert raster.shape == opengl.shape
    assert len(np.unique(raster.reshape(-1, 3), axis=0)) > 30
    different = np.abs(raster - opengl).max(-1) > 24
    assert different.mean() < 0.02


def test_what_the_driver_refuses_is_drawn_in_raster_and_said(display: str, tmp_path: Path) -> None:
    raster, _ = picture("off", display, tmp_path / "raster.png")
    instead, drawn = picture("refused", display, tmp_path / "refused.png")
    assert drawn["canvas"] == "RasterCanvas"
    assert "drawn without OpenGL, which refused it" in str(drawn["said"])
    np.testing.assert_array_equal(instead, raster)
