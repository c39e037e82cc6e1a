"""The Numbers tab: the header of a pass with units, and the load of each layer in it. No Qt."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from moedesk.analysis.balance import DEFAULT
from moedesk.analysis.conventions import Conventions, hint, title
from moedesk.analysis.load import METRICS, layer_load
from moedesk.core.columns import PassFlag
from moedesk.core.store import Store
from moedesk.panels.network.model_passes import duration_text, phase_label

SHOWN = ("maxvio", "cv", "entropy_normalized")


@dataclass(frozen=True)
class LayerNumbers:
    """The load of one layer in one pass.

    Attributes
    ----------
    layer : int
    slots : int
        Slots in all, padding left out.
    used, experts : int
        Experts that got something, and experts in all.
    busiest : int
        -1 without slots.
    metrics : tuple of float
        In the order of ``SHOWN``, each as chosen of its family; NaN without slots.
    """

    layer: int
    slots: int
    used: int
    experts: int
    busiest: int
    metrics: tuple[float, ...]


@dataclass(frozen=True)
class PassNumbers:
    """One pass in numbers.

    Attributes
    ----------
    header : tuple of (str, str)
        Name and value with its unit.
    layers : tuple of LayerNumbers
    """

    number: int
    header: tuple[tuple[str, str], ...]
    layers: tuple[LayerNumbers, ...]


def metric_titles(conventions: Conventions = DEFAULT) -> tuple[tuple[str, str], ...]:
    """Return title and convention of each metric in ``SHOWN``."""
    return tuple(
        (title(key), f"{hint(key)}; c slots per expert in this pass. View > Conventions chooses another definition")
        for key in map(conventions.of, SHOWN)
    )


def read_numbers(store: Store, number: int, conventions: Conventions = DEFAULT) -> PassNumbers:
    """Read a pass's header and counts."""
    header = store.read_passes(number, number + 1)[0]
    origin = int(store.read_passes(0, 1)["t0_ns"][0])
    layers = tuple(_layer(load.layer.place, load.counts, conventions) for load in layer_load(store, number, number + 1))
    return PassNumbers(number, tuple(_fields(header, origin)), layers)


def _layer(place: int, counts: npt.NDArray[np.int64], conventions: Conventions) -> LayerNumbers:
    slots = int(counts.sum())
    return LayerNumbers(
        place,
        slots,
        int((counts > 0).sum()),
        len(counts),
        int(np.argmax(counts)) if slots else -1,
        tuple(METRICS[conventions.of(key)].of(counts) for key in SHOWN),
    )


def _fields(header: np.void, origin: int) -> list[tuple[str, str]]:
    taken = int(header["t1_ns"] - header["t0_ns"])
    seen, padding = int(header["n_seen"]), int(header["n_padding"])
    start = datetime.fromtimestamp(int(header["t0_ns"]) / 1e9, UTC)
    fields = [
        ("Phase", phase_label(int(header["phase"]))),
        ("Start", f"{duration_text(int(header['t0_ns']) - origin)} after the first pass"),
        ("Wall clock", f"{start:%Y-%m-%d %H:%M:%S.%f} UTC"),
        ("Time", duration_text(taken)),
        ("Sequences", f"{int(header['batch']):,}"),
        ("Token rows", f"{seen:,}, {padding:,} of them padding"),
        ("Rows kept", f"{int(header['n_tokens']):,} in the main stream"),
        ("KV cache", f"{int(header['past']):,} tokens before the forward"),
        ("Rank", f"{int(header['rank'])}"),
    ]
    if taken > 0 and seen > padding:
        fields.insert(4, ("Speed", f"{(seen - padding) / taken * 1e9:,.0f} tokens/s, hooks included"))
    if header["step"] >= 0:
        fields.append(("Training step", f"{int(header['step']):,}; more in the tab Training"))
    notes = {
        PassFlag.COUNTS_ONLY: "counts only: ids, weights and tokens were not kept",
        PassFlag.FAILED: "the forward raised an error; layers after that point are absent",
        PassFlag.TOKENS_UNKNOWN: "token ids are unknown",
        PassFlag.REWOUND: "the KV cache went back: earlier rows of its sequences from there on were rejected drafts",
        PassFlag.SAMPLED: "sampled: only some of its tokens were kept; counts are of all",
        PassFlag.SPARED: "entropy and margin were not recorded: the model ran faster than they could be worked out",
        PassFlag.LATE: "rows of an earlier pass that a reservoir kept until the end; its counts are with that pass",
    }
    fields += [("Note", note) for flag, note in notes.items() if int(header["flags"]) & flag]
    return fields
