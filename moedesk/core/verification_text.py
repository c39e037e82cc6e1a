"""What a self-test found, to read: a few lines however many layers there are, those with a finding by name."""

from html import escape
from math import isnan
from typing import NamedTuple

from moedesk.core.verification import Check, CheckName, Verdict, Verification

NAMED = 12
"""Layers with a finding that are named; of more, how many."""
NEVER = "not verified yet: moe.verify()"
SIGNS = {Verdict.VERIFIED: "✓", Verdict.FAILED: "✗", Verdict.NOT_CHECKED: "–"}
_LAYER_CHECKS = (
    CheckName.CAPTURED, CheckName.REPLAY, CheckName.BLOCK, CheckName.SWITCHED_OFF, CheckName.COUNTS, CheckName.LOGITS,
)  # fmt: skip


class Row(NamedTuple):
    """A line of the table: what was checked, what came of it, in how many layers (empty: of the model), and the evidence."""

    name: str
    verdict: Verdict
    share: str
    text: str


def verdict_text(verification: Verification | None) -> str:
    """Return the verdict in one line, or what to do where there is none."""
    return NEVER if verification is None else verification.summary


def short_verdict(verification: Verification | None) -> str:
    """Return the verdict in few words, or what to do where there is none."""
    if verification is None:
        return NEVER
    failed = verification.verdict is Verdict.FAILED
    layers = f"{verification.verified_layers:,} of {len(verification.layers):,} layers"
    return f"self-test failed · verified {layers}" if failed else f"verified {layers}"


def rows(verification: Verification) -> list[Row]:
    """Return a row for each check of the model, each check of the layers, and each layer with a finding."""
    table = [Row(check.name, check.verdict, "", check.text) for check in verification.checks]
    table += [
        _summed(verification, name) for name in _LAYER_CHECKS if any(layer.check(name) for layer in verification.layers)
    ]
    found = [layer for layer in verification.layers if layer.verdict is not Verdict.VERIFIED]
    found.sort(key=lambda layer: layer.verdict is not Verdict.FAILED)
    table += [Row(layer.path, layer.verdict, "", layer.reason) for layer in found[:NAMED]]
    if len(found) > NAMED:
        table.append(Row(f"… and {len(found) - NAMED:,} more", found[-1].verdict, "", ""))
    return table


def as_text(verification: Verification) -> str:
    """Return all of it as lines."""
    table = rows(verification)
    names, shares = max(len(row.name) for row in table), max(len(row.share) for row in table)
    lines = [f"{verification.model}: {verification.summary}", f"  {_conditions(verification)}"]
    lines += [
        f"  {SIGNS[row.verdict]} {row.name:<{names}}  {row.share:<{shares}}  {row.text}".rstrip() for row in table
    ]
    return "\n".join([*lines, *(f"  note: {note}" for note in verification.notes)])


def as_html(verification: Verification) -> str:
    """Return the same as a small table."""
    cells = "".join(
        "<tr>" + "".join(f'<td style="text-align: left; vertical-align: top">{escape(cell)}</td>' for cell in
                         (SIGNS[row.verdict], row.name, str(row.verdict), row.share, row.text)) + "</tr>"
        for row in rows(verification)
    )  # fmt: skip
    notes = "".join(f"<div>{escape(note)}</div>" for note in verification.notes)
    return (
        f"<b>{escape(verification.model)}: {escape(verification.summary)}</b>"
        f"<div><small>{escape(_conditions(verification))}</small></div><table>{cells}</table>{notes}"
    )


def check_text(check: Check) -> str:
    """Return one check as a line: sign, name, evidence."""
    return (
        f"{SIGNS[check.verdict]} {check.name}: {check.text}" if check.text else f"{SIGNS[check.verdict]} {check.name}"
    )


def _summed(verification: Verification, name: str) -> Row:
    """One check over all layers: the worst verdict, and the evidence of the layer that has it, or comes closest to it."""
    checks = [check for layer in verification.layers if (check := layer.check(name)) is not None]
    for verdict in (Verdict.FAILED, Verdict.NOT_CHECKED, Verdict.VERIFIED):
        alike = [check for check in checks if check.verdict is verdict]
        if alike:
            break
    worst = max(alike, key=lambda check: -1.0 if isnan(check.error) else check.error)
    passed = sum(check.verdict is Verdict.VERIFIED for check in checks)
    return Row(name, worst.verdict, f"{passed:,} of {len(verification.layers):,} layers", worst.text)


def _conditions(verification: Verification) -> str:
    parts = [verification.conditions, verification.created]
    parts += [] if isnan(verification.seconds) else [f"{verification.seconds:.1f} s"]
    return " · ".join(part for part in parts if part)
