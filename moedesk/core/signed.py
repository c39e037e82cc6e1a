"""Changes as they are shown: with their sign, unless they are rounded to nothing."""


def signed(value: float, digits: int) -> str:
    """Return a change with so many digits behind the point: ``+0.012``, ``-0.012``, and ``0.000`` for what rounds to zero."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text
