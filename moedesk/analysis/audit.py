"""Checks of a capture's routing: what is wrong, how sure that is, and what to do about it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from moedesk.analysis.checks.check import Check
from moedesk.analysis.checks.evidence import Evidence
from moedesk.analysis.checks.gather import LIGHT, gather, gather_partials
from moedesk.analysis.checks.registry import CHECKS, plugged_in, said
from moedesk.analysis.chunks import Part, Ticket
from moedesk.analysis.finding import SEVERITIES, AuditReport, Finding, Outcome
from moedesk.analysis.measures.measure import Sums
from moedesk.core.acted import first_few
from moedesk.core.store import Store


def audit(store: Store, ticket: Ticket | None = None) -> AuditReport:
    """Check a capture; it is read piece by piece."""
    whole = Part(ticket)
    more, notes = plugged_in()
    checks = (*CHECKS, *more)
    evidence = gather(store, whole.part(0, LIGHT))
    partials = gather_partials(store, checks, whole.part(LIGHT, 1 - LIGHT))
    whole.check(1.0)
    if evidence.rows_left_out:
        rows = evidence.rows_read + evidence.rows_left_out
        notes = (
            f"What needs each token's experts looked at an even sample of {evidence.rows_read:,} of {rows:,} rows.",
            *notes,
        )
    return judge(evidence, partials, checks, notes)


def judge(
    evidence: Evidence,
    partials: Mapping[int, Mapping[int, Sums] | Exception] | None = None,
    checks: Sequence[Check] = CHECKS,
    notes: Sequence[str] = (),
) -> AuditReport:
    """Run every check on what was gathered.

    Parameters
    ----------
    partials : mapping or None
        Partial results of each check, by its place in ``checks``.
    notes : sequence of str
        Lines for the report.
    """
    findings: list[Finding] = []
    lines = list(notes)
    lacks: dict[int, str] = {}
    for number, check in enumerate(checks):
        partial = (partials or {}).get(number, {})
        try:
            if isinstance(partial, Exception):
                raise partial
            findings += check.findings(evidence, partial)
            lacks[number] = check.lacks(evidence)
        except Exception as error:
            if check in CHECKS:
                raise
            lacks[number] = f"the check {type(check).__name__} of a plug-in failed: {said(error)}"
            lines.append(lacks[number])
    outcomes = _outcomes(checks, findings, lacks)
    findings = [_under_overrides(finding, evidence) for finding in findings]
    findings.sort(key=lambda finding: -SEVERITIES.index(finding.severity))  # stable: then in order of checks and layers
    return AuditReport(len(evidence.layers), tuple(findings), tuple(lines), outcomes)


def _under_overrides(finding: Finding, evidence: Evidence) -> Finding:
    """The finding, with the overrides that acted on its layer among its evidence."""
    titles = [
        one.override.title
        for one in evidence.overrides
        for layer in evidence.layers
        if layer.layer.path == finding.layer and one.override.acts_on(layer.layer.place)
    ]
    return replace(finding, evidence={**finding.evidence, "under_overrides": first_few(titles)}) if titles else finding


def _outcomes(checks: Sequence[Check], findings: Sequence[Finding], lacks: Mapping[int, str]) -> tuple[Outcome, ...]:
    found = Counter(finding.id for finding in findings)
    return tuple(
        Outcome(about.id, about.category, about.what, found[about.id], lacks[number])
        for number, check in enumerate(checks)
        for about in check.abouts
    )
