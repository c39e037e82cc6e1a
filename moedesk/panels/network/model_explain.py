"""What the Explain tab says of the token itself. No Qt."""

from dataclasses import dataclass

from moedesk.analysis.passage import token_passage
from moedesk.core.errors import MoedeskError
from moedesk.core.store import Store
from moedesk.core.visible import visible_text


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
