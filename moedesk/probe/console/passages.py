"""What a user names a token by, as the passage that is run to explain it."""

from typing import Any

from moedesk.core.errors import MoedeskError
from moedesk.probe.console.selected_place import Selected
from moedesk.probe.console.selected_token import SelectedToken
from moedesk.probe.exactness.text_batch import encode
from moedesk.probe.explaining.asked import selected_passage
from moedesk.probe.explaining.passage import Passage, passage_of_ids


def passage_of(token: Any, index: int, tokenizer: Any) -> Passage:
    """Return the passage up to a token.

    Parameters
    ----------
    token : SelectedToken, Passage, str, or sequence of int
        A token that was clicked in the app; a text or token ids.
    index : int
        Which token of a text or of ids.
    tokenizer : transformers tokenizer or None

    Raises
    ------
    MoedeskError
        If it is none of these, or there is no such token.
    """
    if isinstance(token, Passage):
        return token
    if isinstance(token, SelectedToken):
        return selected_passage(token)
    if isinstance(token, Selected):
        raise MoedeskError(f"{token.title} is no token; click one in Network, or give a text or token ids")
    if isinstance(token, int) or (isinstance(token, tuple) and len(token) == 2):
        raise MoedeskError("a row, or (sequence, column), is known to the app alone; select it there, and give $0")
    if isinstance(token, str):
        if tokenizer is None:
            raise MoedeskError("there is no tokenizer for a text; give token ids, or moe.attach(model, tokenizer)")
        return passage_of_ids(encode(tokenizer, token), index, tokenizer)
    return passage_of_ids(token, index, tokenizer)
