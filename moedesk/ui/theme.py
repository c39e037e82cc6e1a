"""The two themes: colours by role, expert colours, the colour map of loads."""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette

from moedesk.ui.color import contrast, oklch, rgb, viridis

DEAD = 0
"""Index in ``Theme.load_lut`` of an expert that got nothing."""
MISSING = 1
"""Index in ``Theme.load_lut`` of a cell without a value (NaN: not recorded, layer absent)."""
FIRST_LEVEL = 2
"""Index in ``Theme.load_lut`` of the smallest load above nothing; 255 is the largest."""

_GOLDEN_ANGLE = 137.508  # degrees; neighbours in the sequence lie far apart on the colour circle


@dataclass(frozen=True)
class Theme:
    """Colours by role, as ``#rrggbb``.

    Attributes
    ----------
    name : str
        ``light`` or ``dark``.
    background : str
        Window, toolbars, tab bars.
    surface : str
        Where content lies: tables, plots, text.
    raised : str
        Buttons, header cells, chips, tooltips.
    text, muted : str
        Text, and text of less weight; both readable (4.5:1) on background, surface and raised.
    border, grid : str
        Lines between areas; faint lines within a plot or table.
    accent, accent_text : str
        Links, the current tab, the replay cursor; text on it.
    selection, selection_text : str
        The selected row; text on it.
    hover : str
        A row or button under the mouse.
    focus : str
        Ring around what has the keyboard.
    warning, error, success : str
        Readable as text on background and surface.
    dead, missing : str
        Cells of a load map: an expert that got nothing; no value.
    expert_lightness : tuple of float
        OKLCH lightness of the expert colours, taken in turn.
    """

    name: str
    background: str
    surface: str
    raised: str
    text: str
    muted: str
    border: str
    grid: str
    accent: str
    accent_text: str
    selection: str
    selection_text: str
    hover: str
    focus: str
    warning: str
    error: str
    success: str
    dead: str
    missing: str
    expert_lightness: tuple[float, ...]

    @property
    def is_dark(self) -> bool:
        """Whether text is lighter than what lies behind it."""
        return self.name == "dark"

    def color(self, role: str) -> QColor:
        """Return the colour of a role, e.g. ``theme.color("accent")``."""
        return QColor(getattr(self, role))

    def expert_color(self, expert: int) -> QColor:
        """Return the colour of an expert, the same in every layer and panel; grey for none (-1).

        Twenty or so are told apart with ease; beyond that neighbours in number still differ.
        """
        return QColor(_expert_hex(self.expert_lightness, expert) if expert >= 0 else self.dead)

    def text_on(self, color: QColor | str) -> QColor:
        """Return black or white, whichever reads better on ``color`` (at least 4.5:1 on any colour)."""
        name = QColor(color).name()
        return QColor("#000000" if contrast(name, "#000000") >= contrast(name, "#ffffff") else "#ffffff")

    @cached_property
    def load_lut(self) -> npt.NDArray[np.uint8]:
        """(256, 4) red, green, blue, alpha: ``DEAD``, ``MISSING``, then loads from ``FIRST_LEVEL`` (low) to 255 (high)."""
        lut = np.full((256, 4), 255, dtype=np.uint8)
        lut[FIRST_LEVEL:, :3] = viridis(256 - FIRST_LEVEL)
        for index, color in ((DEAD, self.dead), (MISSING, self.missing)):
            lut[index, :3] = [round(channel * 255) for channel in rgb(color)]
        lut.flags.writeable = False
        return lut

    @property
    def mono_font(self) -> QFont:
        """Fixed-width font at the application's size; needs a running application."""
        font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        size = QFont().pointSizeF()
        if size > 0:
            font.setPointSizeF(size)
        return font

    @cached_property
    def palette(self) -> QPalette:
        """The palette for the Fusion style."""
        palette = QPalette()
        for role, color in self._palette_roles().items():
            palette.setColor(role, QColor(color))
        disabled = QPalette.ColorGroup.Disabled
        for role in (QPalette.ColorRole.Text, QPalette.ColorRole.WindowText, QPalette.ColorRole.ButtonText):
            palette.setColor(disabled, role, QColor(self.muted))
        return palette

    def _palette_roles(self) -> dict[QPalette.ColorRole, str]:
        role = QPalette.ColorRole
        return {
            role.Window: self.background,
            role.WindowText: self.text,
            role.Base: self.surface,
            role.AlternateBase: self.background,
            role.Text: self.text,
            role.PlaceholderText: self.muted,
            role.Button: self.raised,
            role.ButtonText: self.text,
            role.BrightText: self.error,
            role.ToolTipBase: self.raised,
            role.ToolTipText: self.text,
            role.Highlight: self.selection,
            role.HighlightedText: self.selection_text,
            role.Accent: self.accent,
            role.Link: self.accent,
            role.LinkVisited: self.accent,
            role.Light: self.hover,
            role.Midlight: self.hover,
            role.Mid: self.border,
            role.Dark: self.border,
            role.Shadow: self.border,
        }


@cache
def _expert_hex(lightness: tuple[float, ...], expert: int) -> str:
    return oklch(lightness[expert % len(lightness)], 0.13, (25 + expert * _GOLDEN_ANGLE) % 360)


LIGHT = Theme(
    name="light",
    background="#f3f5f9",
    surface="#ffffff",
    raised="#e6eaf1",
    text="#1f1f1f",
    muted="#55595f",
    border="#c7cbd1",
    grid="#e4e6ea",
    accent="#0b57d0",
    accent_text="#ffffff",
    selection="#cfe0fc",
    selection_text="#0a1f3d",
    hover="#dde3ec",
    focus="#1a73e8",
    warning="#8a4b00",
    error="#b3261e",
    success="#146c2e",
    dead="#b4b8bf",
    missing="#ffffff",
    expert_lightness=(0.86, 0.74, 0.62),
)

DARK = Theme(
    name="dark",
    background="#28292c",
    surface="#1e1f21",
    raised="#36383c",
    text="#e8eaed",
    muted="#aeb3ba",
    border="#4a4d52",
    grid="#303236",
    accent="#8ab4f8",
    accent_text="#0b1f3a",
    selection="#0c4a7c",
    selection_text="#f2f7ff",
    hover="#414449",
    focus="#8ab4f8",
    warning="#f5c04e",
    error="#f6998f",
    success="#81c995",
    dead="#6d7075",
    missing="#1e1f21",
    expert_lightness=(0.50, 0.62, 0.76),
)

THEMES = {theme.name: theme for theme in (LIGHT, DARK)}
