"""Colour arithmetic: contrast as WCAG 2.2 defines it, and colours by perceived lightness, chroma and hue (OKLCH)."""

from math import cos, radians, sin

import numpy as np
import numpy.typing as npt

RGB = tuple[float, float, float]

# matplotlib's viridis at equal steps: perceptually uniform, readable with any colour blindness and in grey.
_VIRIDIS = (
    (68, 1, 84), (72, 36, 117), (65, 68, 135), (53, 95, 141), (42, 120, 142), (33, 145, 140),
    (34, 168, 132), (68, 191, 112), (122, 209, 81), (189, 223, 38), (253, 231, 37),
)  # fmt: skip


def rgb(color: str) -> RGB:
    """Return red, green and blue (0 to 1) of ``#rrggbb``."""
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def hex_of(color: RGB) -> str:
    """Return ``#rrggbb`` of red, green and blue (0 to 1)."""
    return "#" + "".join(f"{round(min(max(channel, 0.0), 1.0) * 255):02x}" for channel in color)


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def _gamma(channel: float) -> float:
    return channel * 12.92 if channel <= 0.0031308 else 1.055 * channel ** (1 / 2.4) - 0.055


def luminance(color: str) -> float:
    """Return the relative luminance (0 to 1) of ``#rrggbb``."""
    red, green, blue = map(_linear, rgb(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio (1 to 21) of two colours ``#rrggbb``."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def oklch(lightness: float, chroma: float, hue: float) -> str:
    """Return ``#rrggbb`` of an OKLCH colour (lightness 0 to 1, hue in degrees), less colourful where a screen can't show it.

    Source: Björn Ottosson, "A perceptual color space for image processing", 2020.
    """
    while True:
        linear = _oklab_linear(lightness, chroma * cos(radians(hue)), chroma * sin(radians(hue)))
        if chroma < 0.005 or all(-1e-4 <= channel <= 1.0001 for channel in linear):
            red, green, blue = (_gamma(min(max(channel, 0.0), 1.0)) for channel in linear)
            return hex_of((red, green, blue))
        chroma *= 0.95


def _oklab_linear(lightness: float, a: float, b: float) -> RGB:
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def viridis(levels: int) -> npt.NDArray[np.uint8]:
    """Return (levels, 3) red, green, blue from dark violet (low) to yellow (high).

    The darkest few hundredths are left out, so that "low" stays apart from a dark background.
    """
    anchors = np.array(_VIRIDIS, dtype=float)
    at = np.linspace(0.06, 1.0, levels) * (len(anchors) - 1)
    columns = [np.interp(at, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    return np.stack(columns, axis=1).round().astype(np.uint8)
