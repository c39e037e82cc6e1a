"""What the Explain tab says of the token itself. No Qt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from moedesk.analysis.passage import token_passage
from moedesk.core.attribution import Explanation, Why
from moedesk.core.errors import MoedeskError
from moedesk.core.selection import Kind, Selection
from moedesk.core.store import Store
from moedesk.core.visible import visible_text

MOST_LINKS = 30
"""Explanations that are listed."""


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


@dataclass(frozen=True)
class Stored:
    """An explanation that can be gone to.

    Attributes
    ----------
    title : str
    kind : type
    selection : Selection
        Its token, at its layer if it is of one.
    """

    title: str
    kind: type[Explanation]
    selection: Selection


def stored(every: Sequence[Explanation], main: str, rows: int) -> list[Stored]:
    """Return the explanations of tokens that are here, the newest first, of several of the same the newest.

    Parameters
    ----------
    every : sequence of Explanation
        The newest last.
    main : str
        Name of the main stream.
    rows : int
        Token rows that it has.
    """
    found: dict[tuple[object, ...], Stored] = {}
    for each in reversed(every):
        token, layer = each.token, each.layer if isinstance(each, Why) else None
        stream = None if token.stream in ("", main) else token.stream
        if not token.row >= 0 or (stream is None and token.row >= rows):
            continue
        place = None if token.pass_id < 0 else token.pass_id
        selection = Selection(Kind.TOKEN, pass_id=place, layer=layer, token=token.row, stream=stream)
        title = each.title if place is None else f"{each.title} · pass {place:,}"
        found.setdefault((type(each), token.row, stream, layer), Stored(title, type(each), selection))
    return list(found.values())


def links(every: Sequence[Stored]) -> str:
    """Return them as rich text, each a link to its place in the list; empty if there are none."""
    if not every:
        return ""
    shown = [f"<a href='{place}'>{escape(each.title)}</a>" for place, each in enumerate(every[:MOST_LINKS])]
    rest = [f"and {len(every) - MOST_LINKS:,} older ones"] if len(every) > MOST_LINKS else []
    return "Explained so far:<br>" + "<br>".join([*shown, *rest])


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
