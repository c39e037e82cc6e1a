"""Warnings to the user that never stop the model, even where warnings are errors."""

import contextlib
import warnings

from moedesk.core.errors import CaptureWarning


def notice(line: str) -> None:
    """Warn with one line about something a capture lacks."""
    with contextlib.suppress(CaptureWarning):
        warnings.warn(line, CaptureWarning, stacklevel=3)
