"""Running an audit: what was looked at, what is left out, and what the panel says before, meanwhile and after."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from moedesk.analysis.audit import audit
from moedesk.analysis.chunks import ROWS, Chunks
from moedesk.analysis.finding import AuditReport
from moedesk.core.columns import PassFlag
from moedesk.core.model import ModelInfo
from moedesk.core.store import Store
from moedesk.session.jobs import Ticket

NO_LAYERS = (
    "This capture has no Mixture-of-Experts layers, so there is nothing to audit.\n"
    "Record a model in which a router picks experts: moedesk.record(model, path)."
)
NO_PASSES = (
    "No passes yet, so there is nothing to audit.\n"
    "Run the model, or open a capture with Ctrl+O; then run the audit here."
)
READY = (
    "An audit looks at every pass for dead and hot experts, collapse, drops, NaN and more,\n"
    "and says of each finding how sure it is and what to do. It runs beside the model and slows nothing down."
)
WHOLE = "all passes: the brush, the replay and the filter do not narrow an audit"


@dataclass(frozen=True)
class Audited:
    """What came of an audit.

    Attributes
    ----------
    report : AuditReport
    model : ModelInfo
        At the time: a live session's may change.
    name : str
        The store's.
    passes, tokens : int
        What there was; tokens of all streams, padding rows counted.
    counts_only, sampled, failed, spared : int
        Passes of which only counts were kept, those among them left out by sampling, and those whose forward raised.
    notes : tuple of str
        What the capture itself says it lacks.
    seconds : float
        How long it took.
    """

    report: AuditReport
    model: ModelInfo
    name: str
    passes: int
    tokens: int
    counts_only: int
    sampled: int
    failed: int
    spared: int
    notes: tuple[str, ...]
    seconds: float


def run_audit(store: Store, ticket: Ticket) -> Audited:
    """Audit a store; of one that grows, what there is now. Reads for seconds: for a worker."""
    snapshot: Callable[[], Store] | None = getattr(store, "snapshot", None)
    still = snapshot() if snapshot is not None else store
    start = perf_counter()
    report = audit(still, ticket)
    flags = {PassFlag.COUNTS_ONLY: 0, PassFlag.SAMPLED: 0, PassFlag.FAILED: 0, PassFlag.SPARED: 0}
    for i, j in Chunks(0, still.n_passes, rows=ROWS).walk():
        column = still.read_passes(i, j)["flags"]
        for flag in flags:
            flags[flag] += int(np.count_nonzero(column & flag))
    return Audited(
        report,
        still.model,
        still.name,
        still.n_passes,
        sum(still.n_tokens(stream) for stream in still.model.streams),
        flags[PassFlag.COUNTS_ONLY],
        flags[PassFlag.SAMPLED],
        flags[PassFlag.FAILED],
        flags[PassFlag.SPARED],
        still.notes,
        perf_counter() - start,
    )


def empty_text(model: ModelInfo, passes: int) -> str:
    """Return why there is nothing to audit, and what to do; empty if there is something."""
    if not model.layers and not passes:
        return NO_PASSES
    if not model.layers:
        return NO_LAYERS
    return "" if passes else NO_PASSES


def run_label(audited: Audited | None, passes: int) -> str:
    """Return what the button says, with the passes that came since the last audit."""
    if audited is None:
        return "Run audit"
    new = passes - audited.passes
    return f"Audit again: {new:,} new {'pass' if new == 1 else 'passes'}" if new > 0 else "Audit again"


def summary(audited: Audited) -> str:
    """Return in one line what was audited."""
    layers = len(audited.model.layers)
    return (
        f"{_number(len(audited.report.findings), 'finding')} in {_number(audited.passes, 'pass', 'passes')}, "
        f"{_number(audited.tokens, 'token row')}, {_number(layers, 'MoE layer')} · {audited.seconds:.1f} s"
    )


def left_out(audited: Audited) -> tuple[str, ...]:
    """Return what the audit could not look at, a line each."""
    lines = []
    if audited.counts_only:
        why = f" ({audited.sampled:,} by sampling)" if audited.sampled else ""
        lines.append(
            f"Of {audited.counts_only:,} of {_number(audited.passes, 'pass', 'passes')} only counts were kept{why}: "
            "loads are exact, what needs weights, margins or tokens is judged from the others."
        )
    if audited.spared:
        lines.append(
            f"Of {audited.spared:,} of {_number(audited.passes, 'pass', 'passes')} entropy and margin were not recorded: "
            "what needs them is judged from the others."
        )
    if audited.failed:
        lines.append(f"{_number(audited.failed, 'pass', 'passes')} raised an error; their later layers are missing.")
    return (*lines, *audited.report.notes, *audited.notes)


def nothing_text(findings: int) -> str:
    """Return what an empty list says."""
    if findings:
        return f"None of {_number(findings, 'finding')} matches the filter.\nEsc shows all of them again."
    return "No check found anything wrong."


def _number(count: int, what: str, many: str = "") -> str:
    return f"{count:,} {what if count == 1 else many or what + 's'}"
