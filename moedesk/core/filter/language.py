"""A parsed filter."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Filter:
    """A filter's text and its terms."""

    text: str = ""


NO_FILTER = Filter()
