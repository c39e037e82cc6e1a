"""Keeps a sample of the rows: a share of the tokens, a reservoir of them, so many bytes a second. Counts stay exact for all."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from moedesk.core.batch import LayerRoutes, RouteBatch
from moedesk.core.columns import TOKEN, PassFlag
from moedesk.core.errors import MoedeskError
from moedesk.core.model import ModelInfo
from moedesk.probe.taking.courier import Sink

Chances = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sampling:
    """Which rows are kept.

    Attributes
    ----------
    tokens : float
        Share of the tokens, 0 to 1, chosen by ``chances``.
    reservoir : int
        Keep an even sample of so many tokens of the whole recording; 0 for all. They are written when the recording is closed.
    byte_rate : int
        Bytes of rows a second; passes beyond are only counted. 0 for any.
    """

    tokens: float = 1.0
    reservoir: int = 0
    byte_rate: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.tokens <= 1:
            raise MoedeskError(f"tokens={self.tokens} makes no sense; it is the share of tokens to keep, 0 to 1")
        for name in ("reservoir", "byte_rate"):
            if getattr(self, name) < 0:
                raise MoedeskError(f"{name}={getattr(self, name)} makes no sense; leave it out to keep all")

    @property
    def all(self) -> bool:
        """Whether every row is kept."""
        return self.tokens == 1 and not self.reservoir and not self.byte_rate

    @property
    def notes(self) -> list[str]:
        """What is kept, a line each."""
        lines = []
        if self.tokens < 1:
            lines.append(
                f"rows of {self.tokens:g} of the tokens, chosen by a hash of sequence and position; counts are of all"
            )
        if self.reservoir:
            lines.append(
                f"rows of an even sample of {self.reservoir:,} tokens of the whole recording, at its end; counts are of all"
            )
        if self.byte_rate:
            lines.append(f"rows of at most {self.byte_rate:,} bytes a second; counts are of all")
        return lines


EVERY_ROW = Sampling()


def chances(rows: np.ndarray) -> Chances:
    """Return for each token row a number in [0, 1): a hash of sequence and position, so the same at all layers and in all runs.

    Parameters
    ----------
    rows : (T,) structured, dtype ``columns.TOKEN``
        Of a row of unknown position, the column counts.

    Notes
    -----
    SplitMix64 (Steele, Lea and Flood, 2014) of both numbers.
    """
    place = np.where(rows["position"] >= 0, rows["position"], rows["column"]).astype(np.int64)
    mixed = _mix(_mix(rows["sequence"].astype(np.int64).view(np.uint64)) ^ place.view(np.uint64))
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class SampledSink:
    """Hands a sample on to a sink.

    Parameters
    ----------
    sink : Sink
    sampling : Sampling
    """

    def __init__(self, sink: Sink, sampling: Sampling) -> None:
        self._sink = sink
        self._sampling = sampling
        self._streams: dict[int, str] = {}
        self._bucket = Bucket(sampling.byte_rate)
        self._reservoir = Reservoir(sampling.reservoir)
        self._said = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)  # what a sink may have besides: counters, count, number

    @property
    def stopped(self) -> str | None:
        """Why nothing more is taken, in one line, or None."""
        return self._sink.stopped

    def describe(self, model: ModelInfo) -> None:
        """Take the model."""
        self._streams = {layer.place: layer.stream for layer in model.layers}
        self._sink.describe(model)

    def note(self, line: str) -> None:
        """Take a line."""
        self._sink.note(line)

    def append(self, batch: RouteBatch) -> None:
        """Take one pass, and hand on what is kept of it."""
        if not self._said:
            self._said = True
            for line in self._sampling.notes:
                self._sink.note(line)
        if batch.header["flags"] & PassFlag.COUNTS_ONLY:
            self._sink.append(batch)
            return
        drawn = {stream: chances(rows) for stream, rows in batch.tokens.items()}
        if self._sampling.tokens < 1:
            kept = {stream: chance < self._sampling.tokens for stream, chance in drawn.items()}
            drawn = {stream: chance[kept[stream]] for stream, chance in drawn.items()}
            batch = thinned(batch, kept, self._streams)
        if not self._bucket.take(batch):
            batch = counted(batch)
        elif self._sampling.reservoir:
            self._reservoir.take(batch, drawn, self._streams)
            batch = counted(batch)
        self._sink.append(batch)

    def close(self) -> None:
        """Hand on the reservoir, and finish."""
        for batch in self._reservoir.batches(self._streams):
            self._sink.append(batch)
        if self._bucket.refused:
            self._sink.note(f"{self._bucket.refused:,} passes were only counted, to stay within the bytes a second")
        self._sink.close()


class Bucket:
    """Lets so many bytes a second through, by the passes' own clock; what isn't used up gathers for one second.

    Parameters
    ----------
    rate : int
        0 for any number.

    Attributes
    ----------
    refused : int
        Passes that didn't get through.
    """

    def __init__(self, rate: int) -> None:
        self.refused = 0
        self._rate = rate
        self._left = float(rate)
        self._at: int | None = None

    def take(self, batch: RouteBatch) -> bool:
        """Return whether the rows of a pass get through: they do while anything is left; what they take beyond is owed."""
        if not self._rate:
            return True
        now = int(batch.header["t1_ns"])
        if self._at is not None:
            self._left = min(self._rate, self._left + max(0, now - self._at) * 1e-9 * self._rate)
        self._at = now
        if self._left <= 0:
            self.refused += 1
            return False
        self._left -= row_bytes(batch)
        return True


class Reservoir:
    """An even sample of so many tokens of all that come, held in memory until the end: those whose chances are the smallest.

    Parameters
    ----------
    size : int
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: list[tuple[RouteBatch, dict[str, Chances]]] = []
        self._number = 0
        self._below = 1.0

    def take(self, batch: RouteBatch, drawn: Mapping[str, Chances], streams: Mapping[int, str]) -> None:
        """Take the rows of one pass."""
        self._keep(batch, dict(drawn), streams)
        if self._number > 2 * self._size + 1024:
            self._shrink(streams)

    def batches(self, streams: Mapping[int, str]) -> list[RouteBatch]:
        """Return what is held, pass by pass: rows without counts, which went on before."""
        self._shrink(streams)
        return [_late(batch) for batch, _ in self._held]

    def _keep(self, batch: RouteBatch, drawn: dict[str, Chances], streams: Mapping[int, str]) -> None:
        kept = {stream: chance < self._below for stream, chance in drawn.items()}
        drawn = {stream: chance[kept[stream]] for stream, chance in drawn.items()}
        number = sum(map(len, drawn.values()))
        if number:
            self._held.append((thinned(batch, kept, streams), drawn))
            self._number += number

    def _shrink(self, streams: Mapping[int, str]) -> None:
        if self._number > self._size:
            every = np.concatenate([chance for _, drawn in self._held for chance in drawn.values()])
            self._below = float(np.partition(every, self._size)[self._size])
            held, self._held, self._number = self._held, [], 0
            for batch, drawn in held:
                self._keep(batch, drawn, streams)


def thinned(batch: RouteBatch, kept: Mapping[str, npt.NDArray[np.bool_]], streams: Mapping[int, str]) -> RouteBatch:
    """Return a pass with some rows of each stream; its counts stay those of all rows."""

    def some(layer: LayerRoutes) -> LayerRoutes:
        which = kept[streams[layer.layer]]
        columns = ("experts", "weights", "entropy", "margin", "flags", "logits")
        given = {name: getattr(layer, name) for name in columns}
        return replace(layer, **{name: value[which] for name, value in given.items() if value is not None})

    tokens = {stream: rows[kept[stream]] for stream, rows in batch.tokens.items()}
    header = _flagged(batch.header, PassFlag.SAMPLED)
    return replace(batch, header=header, tokens=tokens, layers=tuple(map(some, batch.layers)))


def counted(batch: RouteBatch) -> RouteBatch:
    """Return a pass with its counts only."""
    layers = tuple(LayerRoutes(layer.layer, layer.counts) for layer in batch.layers)
    tokens = {stream: np.zeros(0, TOKEN) for stream in batch.tokens}
    return replace(batch, header=_flagged(batch.header, PassFlag.COUNTS_ONLY), tokens=tokens, layers=layers)


def row_bytes(batch: RouteBatch) -> int:
    """Return how many bytes the rows of a pass take, before compression."""
    columns = ("experts", "weights", "entropy", "margin", "flags", "logits")
    given = [getattr(layer, name) for layer in batch.layers for name in columns]
    return sum(column.nbytes for column in (*given, *batch.tokens.values()) if column is not None)


def _late(batch: RouteBatch) -> RouteBatch:
    header = _flagged(batch.header, PassFlag.SAMPLED | PassFlag.LATE)
    header["n_seen"] = header["n_padding"] = 0
    layers = tuple(replace(layer, counts=np.zeros_like(layer.counts)) for layer in batch.layers)
    return replace(batch, header=header, layers=layers)


def _flagged(header: np.ndarray, flags: PassFlag) -> np.ndarray:
    header = header.copy()
    header["flags"] |= np.uint8(flags)
    return header
