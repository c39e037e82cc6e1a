"""The table of passes: which ones, in which order, and what each row says. No Qt."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moedesk.analysis.balance import DEFAULT
from moedesk.analysis.conventions import Conventions, hint, title
from moedesk.analysis.pass_labels import PassLabels, pass_labels
from moedesk.core.acted import titles_of
from moedesk.core.columns import PassFlag, Phase
from moedesk.core.store import Store
from moedesk.session.jobs import Ticket

CHUNK = 16_384  # passes read at once when all are sorted
ROUTES_CHUNK = 256  # the same where token rows are read


@dataclass(frozen=True)
class PassRows:
    """What the table shows of some passes, a row each.

    Attributes
    ----------
    header : (P,) structured, dtype ``columns.PASS``
    entropy : (P,) float32
        Router entropy in nats, mean over layers and tokens that are not padding; NaN if unknown.
    labels : tuple of str
        What each pass was labelled as; empty for nothing.
    overrides : tuple of str
        Which overrides acted on each pass; empty for none.
    max_violation, cv : (P,) float32
        MaxVio and CV of the slots per expert, or what was chosen in their place, mean over layers; NaN if nothing ran.
    """

    header: np.ndarray
    entropy: npt.NDArray[np.float32]
    max_violation: npt.NDArray[np.float32]
    cv: npt.NDArray[np.float32]
    labels: tuple[str, ...]
    overrides: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.header)


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes
    ----------
    id, title, hint : str
    value : callable
        PassRows to a (P,) array to sort by.
    text : callable or None
        PassRows, row and start of the capture in ns to what is shown; None for the time line.
    needs : {"header", "counts", "routes"}
        What must be read for it: the dearest last.
    shown : bool
        Whether it is there until the user chooses.
    """

    id: str
    title: str
    hint: str
    value: Callable[[PassRows], npt.NDArray]
    text: Callable[[PassRows, int, int], str] | None
    needs: str = "header"
    shown: bool = True


def _number(value: float, digits: int = 2) -> str:
    return "–" if np.isnan(value) else f"{value:.{digits}f}"


def duration_text(ns: float) -> str:
    """Return a time in the unit that fits: µs, ms or s."""
    if ns == 0:
        return "0"
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(ns) >= size or unit == "µs":
            digits = 0 if abs(ns) >= 99.95 * size else 1 if abs(ns) >= 9.995 * size else 2
            return f"{ns / size:,.{digits}f} {unit}"
    raise AssertionError


def start_text(ns: int) -> str:
    """Return the time since the start, to a millisecond from the first second on."""
    return f"{ns / 1e9:,.3f} s" if ns >= 1e9 else duration_text(ns)


def phase_label(value: int) -> str:
    """Return a phase's name; its number if a newer format has more of them."""
    return Phase(value).label if value in tuple(Phase) else f"phase {value}"


_NOTES = (
    (PassFlag.FAILED, "failed"),
    (PassFlag.COUNTS_ONLY, "counts only"),
    (PassFlag.LATE, "reservoir"),
    (PassFlag.SAMPLED, "sampled"),
    (PassFlag.SPARED, "no entropy"),
)


def _phase_text(rows: PassRows, row: int, origin: int) -> str:
    header = rows.header[row]
    flags = int(header["flags"])
    notes = [note for flag, note in _NOTES if flags & flag]
    return " · ".join([phase_label(int(header["phase"])), *notes, *["overridden"] * bool(rows.overrides[row])])


def _taken(rows: PassRows) -> npt.NDArray:
    return rows.header["t1_ns"] - rows.header["t0_ns"]


COLUMNS = (
    Column(
        "id", "Pass", "Number of the forward pass", lambda p: p.header["id"], lambda p, i, o: f"{p.header['id'][i]:,}"
    ),
    Column(
        "phase",
        "Phase",
        "What the pass was for, and what is special about it",
        lambda p: p.header["phase"],
        _phase_text,
    ),
    Column(
        "label",
        "Label",
        "What the pass, or some of its tokens, was labelled as; label:NAME filters by it",
        lambda p: label_order(p.labels),
        lambda p, i, o: p.labels[i],
    ),
    Column(
        "start",
        "Start",
        "Start of the forward, after the first pass of the capture",
        lambda p: p.header["t0_ns"],
        lambda p, i, o: start_text(int(p.header["t0_ns"][i]) - o),
    ),
    Column(
        "time",
        "Time",
        "Time the forward took, hooks included",
        _taken,
        lambda p, i, o: duration_text(int(_taken(p)[i])),
    ),
    Column(
        "shape",
        "Batch",
        "Sequences × token rows each, padding included",
        lambda p: p.header["batch"],
        lambda p, i, o: _shape_text(p.header[i]),
    ),
    Column(
        "tokens",
        "Tokens",
        "Token rows without padding, all streams",
        lambda p: p.header["n_seen"] - p.header["n_padding"],
        lambda p, i, o: f"{int(p.header['n_seen'][i] - p.header['n_padding'][i]):,}",
    ),
    Column(
        "padding",
        "Padding",
        "Token rows that are padding",
        lambda p: p.header["n_padding"],
        lambda p, i, o: f"{int(p.header['n_padding'][i]):,}",
        shown=False,
    ),
    Column(
        "past",
        "Cached",
        "Tokens in the KV cache before the forward",
        lambda p: p.header["past"],
        lambda p, i, o: f"{int(p.header['past'][i]):,}",
        shown=False,
    ),
    Column(
        "entropy",
        "Entropy",
        "Router entropy over all experts in nats; mean over layers and tokens, padding left out",
        lambda p: p.entropy,
        lambda p, i, o: _number(p.entropy[i]),
        "routes",
    ),
    Column(
        "max_violation",
        "MaxVio",
        "Load of the fullest expert ÷ mean load − 1 (arXiv 2408.15664); mean over layers; 0 = even",
        lambda p: p.max_violation,
        lambda p, i, o: _number(p.max_violation[i]),
        "counts",
    ),
    Column(
        "cv",
        "CV",
        "Coefficient of variation of the load per expert (population); mean over layers; 0 = even",
        lambda p: p.cv,
        lambda p, i, o: _number(p.cv[i]),
        "counts",
        shown=False,
    ),
    Column(
        "matches", "Matches", "Events of the pass (token × layer) that match the filter", lambda p: p.header["id"], None
    ),
    Column("timeline", "Time line", "When the pass ran, within the passes in view", lambda p: p.header["t0_ns"], None),
)


def label_order(labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return numbers that sort names as the alphabet does, whichever of them are there; nothing comes last."""
    return np.array([_alphabetic(text) for text in labels], np.float64)


def _alphabetic(text: str) -> float:
    """Return the first characters as a fraction: 6 of them, which a float64 holds."""
    if not text:
        return np.nan
    letters = text.casefold().encode()[:6].ljust(6, b"\0")
    return float(int.from_bytes(letters))


def _shape_text(header: np.void) -> str:
    batch = int(header["batch"])
    if batch <= 0:
        return f"{int(header['n_seen']):,}"
    return f"{batch:,} × {int(header['n_seen']) // batch:,}"


CHOSEN = {"max_violation": "maxvio", "cv": "cv"}
"""Columns whose convention the user chooses, and the family of each."""


def column_title(shown: Column, conventions: Conventions) -> str:
    """Return what the head of a column says."""
    return title(conventions.of(CHOSEN[shown.id])) if shown.id in CHOSEN else shown.title


def column_hint(shown: Column, conventions: Conventions) -> str:
    """Return what a column means."""
    if shown.id not in CHOSEN:
        return shown.hint
    chosen = hint(conventions.of(CHOSEN[shown.id]))
    return f"{chosen}; mean over layers. View > Conventions chooses another definition"


def column(column_id: str) -> Column:
    """Return a column by its id."""
    return next(column for column in COLUMNS if column.id == column_id)


def runs(numbers: Sequence[int] | npt.NDArray) -> Iterator[tuple[int, int]]:
    """Yield the half-open ranges of consecutive numbers, in order."""
    array = np.asarray(numbers, dtype=np.int64)
    breaks = np.flatnonzero(np.diff(array) != 1) + 1
    for part in np.split(array, breaks):
        if len(part):
            yield int(part[0]), int(part[-1]) + 1


def read_rows(
    store: Store, numbers: Sequence[int] | npt.NDArray, needs: str = "routes", conventions: Conventions = DEFAULT
) -> PassRows:
    """Read what the table shows of passes, in the order given; ``needs`` as in ``Column``, what is not needed is NaN."""
    labels = pass_labels(store)
    parts = [_read_run(store, first, last, needs, labels, conventions) for first, last in runs(numbers)]
    if not parts:
        return _read_run(store, 0, 0, "header", labels, conventions)
    return PassRows(
        np.concatenate([part.header for part in parts]),
        np.concatenate([part.entropy for part in parts]),
        np.concatenate([part.max_violation for part in parts]),
        np.concatenate([part.cv for part in parts]),
        tuple(text for part in parts for text in part.labels),
        tuple(text for part in parts for text in part.overrides),
    )


def _read_run(
    store: Store, first: int, last: int, needs: str, labels: PassLabels, conventions: Conventions
) -> PassRows:
    header = store.read_passes(first, last)
    unknown = np.full(len(header), np.nan, np.float32)
    violation, cv = pass_loads(store, first, last, conventions) if needs in ("counts", "routes") else (unknown, unknown)
    entropy = pass_entropy(store, first, last) if needs == "routes" else unknown
    overrides = titles_of(store.overrides, first, first + len(header))
    return PassRows(header, entropy, violation, cv, tuple(labels.texts(first, last)), overrides)


def pass_counts(store: Store, first: int, last: int) -> list[npt.NDArray[np.int64]]:
    """Return for each layer the (passes, E) slots per expert of each pass first…last; padding left out, exact."""
    blocks = store.load_blocks(first, last, max(last - first, 1))
    if np.array_equal(blocks.edges, np.arange(first, last + 1)):
        return [
            blocks.counts[:, start:stop].astype(np.int64)
            for start, stop in zip(blocks.offsets[:-1], blocks.offsets[1:], strict=True)
        ]
    each = [store.window_counts(number, number + 1) for number in range(first, last)]
    return [np.stack([counts[place] for counts in each]) for place in range(len(store.model.layers))]


def pass_loads(
    store: Store, first: int, last: int, conventions: Conventions = DEFAULT
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return MaxVio and CV, as chosen, of each pass first…last, mean over the layers that ran; NaN where none did."""
    violation, cv = np.zeros(last - first), np.zeros(last - first)
    ran = np.zeros(last - first)
    for counts in pass_counts(store, first, last) if last > first else ():
        mean = counts.mean(1)
        busy = mean > 0
        violation[busy] += counts.max(1)[busy] / mean[busy] - (conventions.maxvio == "maxvio")
        with np.errstate(divide="ignore", invalid="ignore"):  # a layer of one expert has no sample deviation
            cv[busy] += counts.std(1, ddof=int(conventions.cv == "cv_sample"))[busy] / mean[busy]
        ran += busy
    with np.errstate(invalid="ignore"):
        return (violation / ran).astype(np.float32), (cv / ran).astype(np.float32)


def pass_entropy(store: Store, first: int, last: int) -> npt.NDArray[np.float32]:
    """Return the mean router entropy (nats) of each pass first…last over layers and tokens; padding left out, NaN if unknown."""
    total, seen = np.zeros(last - first), np.zeros(last - first)
    for stream in store.model.streams:
        i, j = store.token_span(first, last, stream)
        if j <= i:
            continue
        tokens = store.read_tokens(i, j, stream)
        place = tokens["pass"] - first
        for layer in store.model.layers:
            if layer.stream != stream:
                continue
            entropy = store.entropy(layer, i, j)
            known = ~tokens["is_padding"] & ~np.isnan(entropy)
            total += np.bincount(place[known], entropy[known], minlength=last - first)
            seen += np.bincount(place[known], minlength=last - first)
    with np.errstate(invalid="ignore"):
        return (total / seen).astype(np.float32)


@dataclass(frozen=True)
class SortKeys:
    """What passes are sorted by.

    Attributes
    ----------
    column : Column
    numbers : (N,) int64
        Passes, in order of time.
    values : (N,) float64
        The column's value of each; NaN if unknown.
    """

    column: Column
    numbers: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def order(self, descending: bool) -> npt.NDArray[np.int64]:
        """Return the passes sorted; equal ones keep their order, unknown ones come last."""
        return self.numbers[np.argsort(-self.values if descending else self.values, kind="stable")]


def sort_keys(
    store: Store,
    numbers: Sequence[int] | npt.NDArray,
    sort: Column,
    ticket: Ticket,
    matches: npt.NDArray | None = None,
    known: SortKeys | None = None,
    conventions: Conventions = DEFAULT,
) -> SortKeys:
    """Read what passes are sorted by.

    Parameters
    ----------
    matches : (N,) int or None
        The matching events of ``numbers``, for the column of that name.
    known : SortKeys or None
        What was read before; if ``numbers`` begin with its passes, only the others are read.
    """
    array = np.asarray(numbers, dtype=np.int64)
    if sort.id == "matches":
        return SortKeys(sort, array, np.zeros(len(array)) if matches is None else matches.astype(np.float64))
    parts: list[npt.NDArray] = []
    start = 0
    if known is not None and known.column is sort and np.array_equal(array[: len(known.numbers)], known.numbers):
        parts, start = [known.values], len(known.numbers)
    chunk = ROUTES_CHUNK if sort.needs == "routes" else CHUNK
    for at in range(start, len(array), chunk):
        ticket.check((at - start) / (len(array) - start))
        rows = read_rows(store, array[at : at + chunk], sort.needs, conventions)
        parts.append(sort.value(rows).astype(np.float64))
    return SortKeys(sort, array, np.concatenate(parts) if parts else np.zeros(0))
