"""Pictures: decoded by Qt, an independent reader of PNG."""

import re

import numpy as np
from PySide6.QtGui import QImage

from moedesk.probe.console.picture import encode_png, load_picture


def pixels(png: bytes) -> np.ndarray:
    """(height, width, 4) as Qt reads them."""
    image = QImage.fromData(png, "PNG")
    assert not image.isNull()
    image = image.convertToFormat(QImage.Format.Format_RGBA8888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : image.width() * 4].reshape(image.height(), image.width(), 4).copy()


def test_png_round_trip() -> None:
    image = np.random.default_rng(0).integers(0, 256, (13, 29, 4), np.uint8)
    image[..., 3] = 255  # what a transparent pixel's colour is, is nobody's business
    np.testing.assert_array_equal(pixels(encode_png(image)), image)


def test_a_cell_for_each_expert() -> None:
    counts = [np.array([0, 4, 8, 4]), np.array([4, 4, 4, 4]), np.array([0, 0, 0, 0])]
    image = pixels(load_picture(counts).png)
    height, width = image.shape[0] // 3, image.shape[1] // 4
    cells = image[height // 2 :: height, width // 2 :: width, :3].astype(int)
    assert cells.shape == (3, 4, 3)
    none, fair, twice = cells[0, 0], cells[0, 1], cells[0, 2]
    assert len({tuple(none), tuple(fair), tuple(twice)}) == 3
    assert none.sum() < fair.sum() < twice.sum()  # brighter is more, in grey too
    assert (cells[1] == fair).all()
    assert (cells[2] == none).all()


def test_any_size_fits() -> None:
    for layers, experts in ((1, 2), (48, 512), (94, 128), (3, 2000)):
        picture = load_picture([np.arange(experts)] * layers)
        height, width, _ = pixels(picture.png).shape
        assert height <= 260
        assert width <= max(480, experts)
        assert max(len(line) for line in picture.text.splitlines()) < 110
        assert len(picture.text.splitlines()) <= 14


def test_layers_of_different_sizes() -> None:
    image = pixels(load_picture([np.ones(4, int), np.ones(8, int)]).png)
    assert not image[0, -2].any()  # transparent where there is no expert
    assert image[-2, -2].any()


def test_bars_show_load_and_spread() -> None:
    line = load_picture([np.array([0, 1, 2, 1])], [7]).text.splitlines()[0]
    assert re.match(r"layer 7 +\S* ", line)
    assert " ▄█▄" in line
    assert line.endswith(f"CV {np.std([0, 1, 2, 1]) / np.mean([0, 1, 2, 1]):.2f}")
