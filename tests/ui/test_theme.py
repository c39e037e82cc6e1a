import itertools

import numpy as np
import pytest
from PySide6.QtGui import QColor

from moedesk.ui.color import contrast
from moedesk.ui.theme import DARK, DEAD, FIRST_LEVEL, LIGHT, MISSING, Theme

THEMES = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)


def lab(colors: np.ndarray) -> np.ndarray:
    """CIELAB of (n, 3) sRGB bytes, by the CIE's own formulas (D65)."""
    channel = colors / 255
    linear = np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratio = linear @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def channels(color: QColor | str) -> list[int]:
    color = QColor(color)
    return [color.red(), color.green(), color.blue()]


def test_contrast_of_known_pairs() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)  # the WCAG's example of just enough


@THEMES
def test_text_is_readable(theme: Theme) -> None:
    pairs = itertools.product(
        ("text", "muted", "accent", "warning", "error", "success"), ("background", "surface", "raised", "hover")
    )
    for role, behind in [*pairs, ("selection_text", "selection"), ("accent_text", "accent")]:
        assert contrast(getattr(theme, role), getattr(theme, behind)) >= 4.5, f"{role} on {behind}"


@THEMES
def test_text_on_an_expert_is_readable(theme: Theme) -> None:
    for expert in range(-1, 512):
        color = theme.expert_color(expert)
        assert contrast(theme.text_on(color).name(), color.name()) >= 4.5


@THEMES
def test_experts_are_told_apart(theme: Theme) -> None:
    points = lab(np.array([channels(theme.expert_color(expert)) for expert in range(-1, 16)]))
    closest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(points, 2))
    assert closest > 15


@THEMES
def test_load_map(theme: Theme) -> None:
    lut = theme.load_lut
    assert lut.shape == (256, 4)
    assert lut.dtype == np.uint8
    levels = lab(lut[FIRST_LEVEL:, :3])
    assert (levels[4:, 0] > levels[:-4, 0]).all(), (
        "more load is always lighter, so it reads in grey and when colour-blind"
    )
    steps = np.linalg.norm(np.diff(levels, axis=0), axis=1)
    assert steps.max() < 4 * np.median(steps), "no step stands out"
    dead, missing, surface = lab(np.array([lut[DEAD, :3], lut[MISSING, :3], channels(theme.surface)]))
    assert np.linalg.norm(levels - dead, axis=1).min() > 15
    assert np.linalg.norm(levels - missing, axis=1).min() > 15
    assert np.linalg.norm(dead - missing) > 15
    assert np.linalg.norm(dead - surface) > 15
