"""Errors a user can act on: one line that says what is wrong and what to do."""


class MoedeskError(Exception):
    """What went wrong and what to do about it, in one line; commands print it without a traceback."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython and Jupyter show in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class CaptureError(MoedeskError):
    """A file cannot be read as a capture, or cannot be written."""


class NoMoELayersError(MoedeskError):
    """The model has no layer in which a router picks experts."""


class FilterError(MoedeskError):
    """A filter does not parse.

    Attributes
    ----------
    start, end : int
        The offending part of the text, as a half-open range of characters.
    """

    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.start = start
        self.end = end


class CaptureWarning(UserWarning):
    """A recording goes on, or a file opened, with something left out; the text says what."""
