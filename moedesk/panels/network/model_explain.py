"""What the Explain tab says of the token itself. No Qt."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from moedesk.analysis.passage import token_passage
from moedesk.core.errors import MoedeskError
from moedesk.core.store import Store
from moedesk.core.visible import visible_text


def sentences(lines: Iterable[str]) -> str:
    """Return lines as sentences, one below the other; empty ones left out."""
    ended = (line if line.endswith(".") else f"{line}." for line in lines if line)
    return "\n".join(f"{line[:1].upper()}{line[1:]}" for line in ended)


def when(created: str) -> str:
    """Return a time in ISO 8601 as it is shown, in UTC."""
    try:
        return f"{datetime.fromisoformat(created).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return "at a time that is unknown"


@dataclass(frozen=True)
class AboutToken:
    """A token that is explained.

    Attributes
    ----------
    name : str
        Its text in quotes.
    place : str
        Where it is.
    texts : tuple of str
        Of the tokens that it saw, itself the last; empty if they weren't asked for, or some were not recorded.
    """

    name: str
    place: str
    texts: tuple[str, ...] = ()


def about_token(store: Store, row: int, stream: str | None, texts: bool) -> AboutToken:
    """Read a token, with the texts of those that it saw if they are wanted; in a worker."""
    token = store.read_tokens(row, row + 1, stream)[0]
    text = store.token_text([token["token_id"]])[0]
    seen: list[str] = []
    if texts:
        try:
            seen = store.token_text(token_passage(store, row, stream).ids)
        except MoedeskError:
            seen = []  # then they are numbers
    place = f"position {int(token['position'])} · pass {int(token['pass']):,}"
    return AboutToken(f"“{visible_text(text)}”", place, tuple(seen))
