"""Live expressions: pinned texts, evaluated again and again while they are on show."""

import itertools
from dataclasses import dataclass

from moedesk.session.kernel import Answer

INTERVAL = 333  # ms between two questions about one expression
_OVERDUE = 10.0  # seconds after which a question that was not answered is asked again
_LATE = 1.0  # seconds after which a value that was not confirmed is shown as old

_numbers = itertools.count(1)


@dataclass
class LiveExpression:
    """One pinned expression.

    Attributes
    ----------
    text : str
    value : str
        The last answer; empty before the first.
    ok : bool
        Whether it is a value, not an error.
    """

    text: str
    value: str = ""
    ok: bool = True
    request: int = 0  # the question under way; 0 for none
    asked_at: float = 0.0

    def is_late(self, now: float) -> bool:
        """Return whether its question has been waiting so long that the value shown is old."""
        return bool(self.request) and now - self.asked_at > _LATE


class LiveExpressions:
    """The pinned expressions, in order."""

    def __init__(self) -> None:
        self.rows: list[LiveExpression] = []

    def set_text(self, row: LiveExpression, text: str) -> None:
        """Change an expression; the old value and its question no longer count."""
        if text != row.text:
            row.text, row.value, row.ok, row.request = text, "", True, 0

    def due(self, now: float) -> list[tuple[int, str]]:
        """Return number and text of the questions to ask now: one under way for each expression at most."""
        questions = []
        for row in self.rows:
            if row.text.strip() and (not row.request or now - row.asked_at > _OVERDUE):
                row.request, row.asked_at = next(_numbers), now
                questions.append((row.request, row.text))
        return questions

    def take(self, answer: Answer) -> LiveExpression | None:
        """Put an answer in its row and return that; None if it is to a question that no longer counts."""
        for row in self.rows:
            if row.request == answer.request:
                row.request, row.value, row.ok = 0, answer.text, answer.ok
                return row
        return None

    def forget(self) -> None:
        """Drop values and questions: another kernel is on show, or it was started anew."""
        for row in self.rows:
            row.value, row.ok, row.request = "", True, 0
