"""Scores: in total and of each category, with the word for a number."""

from dataclasses import dataclass

from moedesk.analysis.finding import AuditReport

GOOD, FAIR = 90, 50
"""Scores from which on a part of the routing is called good, and fair; as in Lighthouse."""
TOTAL = "Total"
WHAT = {
    "load": "how the load is spread over experts",
    "router": "what the router does",
    "numbers": "values that can not be",
    "stability": "changes during the run",
    "training": "training steps",
    "data": "how far the capture can be relied on, and what it covers",
}
"""What the categories are about."""
CONVENTION = (
    "0 to 100: the mean over layers of 100, or 50 with a warning, or 0 with an error; "
    "less 10 per warning and 50 per error about the whole capture."
)


@dataclass(frozen=True)
class Score:
    """A gauge.

    Attributes
    ----------
    key : str
        The category; empty for the total.
    title : str
    value : int or None
        0 to 100; None where nothing could be judged.
    hint : str
        How it comes about.
    """

    key: str
    title: str
    value: int | None
    hint: str

    @property
    def word(self) -> str:
        """What the number means."""
        if self.value is None:
            return "not judged"
        return "good" if self.value >= GOOD else "fair" if self.value >= FAIR else "poor"

    @property
    def role(self) -> str:
        """The theme's colour of the word."""
        roles = {"good": "success", "fair": "warning", "poor": "error"}
        return roles.get(self.word, "muted")


def category_title(category: str) -> str:
    """Return a category in words."""
    return category[:1].upper() + category[1:].replace("-", " ").replace("_", " ")


def scores_of(report: AuditReport) -> tuple[Score, ...]:
    """Return the gauges, the total first."""
    total = Score("", TOTAL, report.score, f"All findings together. {CONVENTION}")
    return (total, *(_of_category(report, name, value) for name, value in report.categories.items()))


def _of_category(report: AuditReport, name: str, value: int) -> Score:
    what = f"{category_title(WHAT[name])}. " if name in WHAT else ""
    outcomes = [outcome for outcome in report.outcomes if outcome.category == name]
    lacking = dict.fromkeys(outcome.lacks for outcome in outcomes if outcome.lacks)
    if outcomes and all(outcome.lacks and not outcome.findings for outcome in outcomes):
        return Score(name, category_title(name), None, f"{what}Nothing could be judged: {'; '.join(lacking)}.")
    return Score(name, category_title(name), value, f"{what}{CONVENTION}")
