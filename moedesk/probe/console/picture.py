"""Small pictures for the console and notebooks: the load of every expert, as an image and as text."""

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

WIDTH = 480
"""Pixels that a row of experts takes, about."""
HEIGHT = 260
"""Pixels that the rows take together, at most, down to 2 pixels a layer."""
BARS = " ▁▂▃▄▅▆▇█"
LEGEND = "up to twice the fair share 1/E · CV: standard deviation / mean"
TEXT_COLUMNS = 64
TEXT_ROWS = 12

# Teal to amber through grey-green (viridis without its ends): all stand out from white and from a dark grey.
_COLORS = np.array(
    [(72, 99, 160), (58, 130, 152), (56, 160, 134), (110, 184, 92), (186, 199, 60), (246, 214, 48)], float
)


@dataclass(frozen=True)
class Picture:
    """The load of the experts of every layer: a row a layer, a cell an expert.

    A cell's colour is its share of its layer's load, from blue (none) to yellow (twice the fair share 1/E, or more).

    Attributes
    ----------
    png : bytes
        The image.
    text : str
        The same in characters: higher bars for more load.
    """

    png: bytes
    text: str

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return self.text

    def save(self, path: str | Path) -> None:
        """Write the image to a ``.png`` file."""
        Path(path).write_bytes(self.png)

    @property
    def html(self) -> str:
        """An ``img`` element that holds the image."""
        data = base64.b64encode(self.png).decode()
        what = "each expert's load, a row a layer: blue for none, yellow for twice the fair share 1/E or more"
        return f'<img alt="{what}" src="data:image/png;base64,{data}"><div><small>{what}</small></div>'


def load_picture(counts: Sequence[npt.NDArray[np.int64]], places: Sequence[int] | None = None) -> Picture:
    """Return a picture of the load of layers.

    Parameters
    ----------
    counts : sequence of (E,) int arrays
        Slots each expert received; layers may differ in E.
    places : sequence of int, optional
        The layers' numbers; 0, 1, … if left out.
    """
    ratios = [_ratio(layer) for layer in counts]
    return Picture(encode_png(_strip(ratios)), _bars(ratios, places or range(len(ratios))))


def _ratio(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Load of each expert over the fair share."""
    return counts.astype(np.float64) * np.float64(len(counts) / max(1, int(counts.sum())))


def _strip(ratios: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.uint8]:
    """(height, width, 4) red, green, blue, opacity; between cells it is transparent where cells are large enough."""
    widest = max((len(layer) for layer in ratios), default=1)
    cell = max(1, min(24, WIDTH // widest))
    row = max(2, min(16, HEIGHT // max(1, len(ratios))))
    image = np.zeros((row * max(1, len(ratios)), cell * widest, 4), np.uint8)
    for place, layer in enumerate(ratios):
        colors = np.full((len(layer), 4), 255, np.uint8)
        at = np.clip(layer / 2, 0, 1) * (len(_COLORS) - 1)
        for channel in range(3):
            colors[:, channel] = np.interp(at, np.arange(len(_COLORS)), _COLORS[:, channel]).round()
        image[place * row : (place + 1) * row, : cell * len(layer)] = np.repeat(colors, cell, axis=0)
    if cell > 3:
        image[:, cell - 1 :: cell] = 0
    if row > 3:
        image[row - 1 :: row] = 0
    return image


def _bars(ratios: Sequence[npt.NDArray[np.float64]], places: Sequence[int]) -> str:
    lines = []
    for place, layer in list(zip(places, ratios, strict=True))[:TEXT_ROWS]:
        step = -(-len(layer) // TEXT_COLUMNS)
        columns = np.array([layer[start : start + step].mean() for start in range(0, len(layer), step)])
        heights = np.clip(np.ceil(columns / 2 * (len(BARS) - 1)), 0, len(BARS) - 1).astype(int)
        spread = layer.std() / layer.mean() if layer.any() else 0.0
        hidden = f" · {step} experts a bar" if step > 1 else ""
        lines.append(f"layer {place:<3} {''.join(BARS[height] for height in heights)}  CV {spread:.2f}{hidden}")
    if len(ratios) > TEXT_ROWS:
        lines.append(f"… and {len(ratios) - TEXT_ROWS} more layers")
    return "\n".join([*lines, f"each expert's load, {LEGEND}"])


def encode_png(image: npt.NDArray[np.uint8]) -> bytes:
    """Return a PNG of (height, width, 4) red, green, blue, opacity (ISO/IEC 15948: signature, IHDR, IDAT, IEND)."""
    height, width, _ = image.shape
    rows = np.zeros((height, 1 + width * 4), np.uint8)  # each row begins with its filter, 0 for none
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
