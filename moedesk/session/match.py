"""How well what was typed fits a title: its letters in order, the better the closer together and at starts of words."""


def match(typed: str, title: str) -> float | None:
    """Return a score (higher is better), or None if the letters of ``typed`` do not all occur in order.

    Blanks in ``typed`` only separate words. Nothing typed fits everything, with 0.
    """
    total = 0.0
    lower = title.lower()
    for word in typed.lower().split():
        score = _word(word, lower)
        if score is None:
            return None
        total += score
    return total - 0.01 * len(title) if typed.strip() else 0.0


def _word(word: str, title: str) -> float | None:
    at = title.find(word)
    while at > 0 and title[at - 1].isalnum():  # prefer the start of a word
        following = title.find(word, at + 1)
        if following < 0:
            break
        at = following
    if at >= 0:
        return 10.0 * len(word) + (5.0 if at == 0 or not title[at - 1].isalnum() else 0.0)
    return _scattered(word, title)


def _scattered(word: str, title: str) -> float | None:
    score, at = 0.0, -1
    for letter in word:
        following = title.find(letter, at + 1)
        if following < 0:
            return None
        starts = following == 0 or not title[following - 1].isalnum()
        score += 3.0 if following == at + 1 or starts else 1.0
        at = following
    return score
