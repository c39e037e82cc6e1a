"""Text in which blanks and control characters can be seen."""

_PICTURES = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍", "\x7f": "␡"} | {
    chr(code): chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t\r"
}
_SHOWN = str.maketrans(_PICTURES)


def visible_text(text: str) -> str:
    """Return a text with blanks (·), line breaks (↵), tabs (→) and control characters made visible."""
    return text.translate(_SHOWN)
