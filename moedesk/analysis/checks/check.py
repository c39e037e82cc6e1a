"""What a check is: what it looks for, a partial result of some rows, how two combine, and the findings from the whole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from moedesk.analysis.checks.evidence import Evidence
from moedesk.analysis.finding import Category, Finding, Reveal, Severity
from moedesk.analysis.measures.measure import Sums, add
from moedesk.analysis.measures.rows import Rows
from moedesk.core.model import LayerInfo

OURS = "moedesk"
"""Source of a threshold that was chosen here."""


@dataclass(frozen=True)
class About:
    """One kind of finding.

    Attributes
    ----------
    id : str
        Stable name.
    category : str
    what : str
        What it looks for, in one line.
    severity : {"info", "warning", "error"}
        The usual one; a finding may be less severe where its threshold says so.
    threshold : str
        The line between fine and found.
    source : str
        Where that line comes from.
    """

    id: str
    category: Category
    what: str
    severity: Severity
    threshold: str
    source: str = OURS

    def found(
        self,
        title: str,
        evidence: Mapping[str, Any],
        advice: str,
        *,
        layer: LayerInfo | None = None,
        expert: int | None = None,
        confidence: float = 1.0,
        severity: Severity | None = None,
        reveal: Reveal | None = None,
    ) -> Finding:
        """Return a finding of this kind.

        Parameters
        ----------
        severity : str or None
            None for the usual one.
        reveal : Reveal or None
            Layer and expert are filled in.
        """
        if reveal is None and layer is not None:
            reveal = Reveal()
        if reveal is not None and layer is not None:
            reveal = replace(reveal, layer=layer.place, expert=expert)
        return Finding(
            self.id, title, severity or self.severity, evidence, advice, f"{self.threshold} ({self.source})",
            None if layer is None else layer.path, expert, confidence, self.category, reveal,
        )  # fmt: skip


class Check:
    """Base of checks. One that reads rows says so and returns a partial result of some of them; all rows are read once for all.

    Attributes
    ----------
    abouts : tuple of About
        The kinds of findings it makes.
    reads_rows : bool
        Whether ``partial`` is asked. What it sees is an even sample of a long capture's rows.
    """

    abouts: tuple[About, ...] = ()
    reads_rows: bool = False

    def partial(self, rows: Rows) -> Sums:
        """Return the partial result of some rows of a layer."""
        raise NotImplementedError

    def combine(self, before: Sums, after: Sums) -> Sums:
        """Return the partial result of ``before``'s rows followed by ``after``'s."""
        return add(before, after)

    def lacks(self, evidence: Evidence) -> str:
        """Return in a few words why nothing of what it looks for can be judged in this capture; empty if it can."""
        return ""

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterable[Finding]:
        """Return what was found.

        Parameters
        ----------
        evidence : Evidence
            What is known of every layer and of the capture.
        partials : mapping
            The combined partial result of each layer, by its place; those without rows are missing.
        """
        raise NotImplementedError
