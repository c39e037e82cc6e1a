"""An override as a line of JSON, as captures and the link have it: made and read once for each, however many passes name it."""

import json
from functools import lru_cache

from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override

REMEMBERED = 4096


@lru_cache(REMEMBERED)
def text_of(override: Override) -> str:
    """Return an override as JSON in one line."""
    return json.dumps(override.to_json(), ensure_ascii=False)


@lru_cache(REMEMBERED)
def override_of(text: str) -> Override:
    """Return the override of which ``text_of`` made a line.

    Raises
    ------
    MoedeskError
        If it is none, in one line.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MoedeskError(f"an override that is not JSON ({error})") from None
    return Override.from_json(value)
