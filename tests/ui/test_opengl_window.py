"""Plots drawn through OpenGL in a real window on a virtual screen look as those drawn in raster."""

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


def picture(mode: str, display: str, path: Path) -> np.ndarray:
    environment = {**os.environ, "DISPLAY": display, "QT_QPA_PLATFORM": "xcb"}
    command = [sys.executable, "-m", "tests.support.xvfb_picture", mode, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["opengl"] is (mode == "on")
    image = QImage(str(path)).convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)


def test_opengl_shows_what_raster_shows_also_after_floating_and_docking(display: str, tmp_path: Path) -> None:
    raster = picture("off", display, tmp_path / "raster.png")
    opengl = picture("on", display, tmp_path / "opengl.png")
    assert raster.shape == opengl.shape
    heatmap = (slice(120, 270), slice(80, -20))  # colours of the load scale, none of them the background's
    assert len(np.unique(raster[heatmap].reshape(-1, 3), axis=0)) > 50
    # A line of pixels that two experts share may show either of them.
    shifted = [np.roll(opengl, rows, 0)[heatmap] for rows in (-1, 0, 1)]
    different = [np.abs(raster[heatmap] - picture).max(-1) > 24 for picture in shifted]
    assert np.logical_and.reduce(different).mean() < 0.05
    assert different[1].mean() < 0.3
