"""What the writer's thread does with each thing it is handed: to columns, in the order of arrival."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moedesk.capture.column import Column
from moedesk.capture.contents import TableInfo
from moedesk.capture.description import UNKNOWN
from moedesk.capture.file import CaptureFile
from moedesk.capture.overrides import OverrideColumns
from moedesk.capture.pyramid import Pyramid
from moedesk.capture.recorded import Layout, RecordedContents, RecordedTexts
from moedesk.capture.routes import RouteTable, Stream, group_layers
from moedesk.capture.schema import LABELS, NOTE_BYTES, NOTES, PASSES, STEPS, State, block_columns
from moedesk.capture.vocabulary import VocabularyColumns
from moedesk.core.batch import COLUMNS, RouteBatch, RouteStack
from moedesk.core.columns import TOKEN, PassFlag
from moedesk.core.label import OPEN, Label
from moedesk.core.model import LayerInfo, ModelInfo
from moedesk.core.training import TrainingStep

NO_TOKENS = np.empty(0, TOKEN)


class Recording:
    """Passes, tokens, routes and counts of a capture that is being written. One thread at a time."""

    def __init__(self, path: Path, half: bool, logits: bool, byte_budget: int | None, compress: bool) -> None:
        self._half, self._logits, self._compress, self._byte_budget = half, logits, compress, byte_budget
        self.counts_only = False
        self.model: ModelInfo | None = None
        self._passes, self._notes = Column(PASSES), Column(NOTES)
        self._steps, self._labels = Column(STEPS), Column(LABELS)
        self._overrides = OverrideColumns(self.note)
        self._label = ""
        self._step = _NO_STEP
        self._lines: list[str] = []
        self._vocabulary, self._texts = VocabularyColumns(), RecordedTexts()
        index = [Column(spec) for spec in block_columns()]
        self._pyramid = Pyramid(index)
        self._streams: dict[str, Stream] = {}
        self._tables: list[RouteTable] = []
        self._committed = 0
        self.file = CaptureFile(
            path,
            [
                self._passes,
                self._notes,
                self._steps,
                self._labels,
                *self._overrides.columns,
                *self._vocabulary.columns,
                *index,
            ],
            compress,
        )
        self._layout = self._new_layout()

    def describe(self, model: ModelInfo) -> None:
        """Take in the model, or the same model with more layers."""
        if model == self.model:
            return
        known = {place for table in self._tables for place in table.places}
        new = [layer for layer in model.layers if layer.place not in known]
        columns: list[Column] = []
        for name in model.streams:
            columns += self._add_stream(name)
        levels = [self._pyramid.rows(level) for level in range(len(block_columns()))]
        for layers in group_layers(new):
            stream = self._streams[layers[0].stream]
            first = stream.tokens.rows
            table = RouteTable(len(self._tables), layers, first, self._half, self._logits, self._compress)
            table.lay_out_counts(levels)
            table.sums = self._pyramid.add_table(table.counts, len(layers), table.experts)
            self._tables.append(table)
            stream.tables.append(table)
            if any(earlier.norms for earlier in self._tables):
                table.lay_out_norms(self._steps.rows)
            columns += table.columns
        self.model = model
        self._lay_out(columns)

    def _lay_out(self, columns: Sequence[Column]) -> None:
        assert self.model is not None
        places = {f"routes/{table.number}/layers": np.array(table.places, "<i4") for table in self._tables}
        self.commit()
        self.file.extend(columns, self.model, places, self.passes)
        self._layout = self._new_layout()

    def _new_layout(self) -> Layout:
        columns = tuple(self.file.columns)
        tables = tuple(
            TableInfo(f"routes/{table.number}", tuple(table.places), table.layers[0].stream, table.experts, table.top_k)
            for table in self._tables
        )
        numbers = {column.spec.path: number for number, column in enumerate(columns)}
        model = self.model or ModelInfo(UNKNOWN, "")
        return Layout(self.file.created, model, tuple(self._streams), tables, columns, numbers)

    def contents(self, state: State = State.RECORDING) -> RecordedContents:
        """Return everything up to the last whole pass, for readers in other threads."""
        return RecordedContents(
            self._layout,
            self._passes.rows,
            tuple([column.stored + column.used for column in self._layout.columns]),
            {name: stream.whole for name, stream in self._streams.items()},
            tuple(self._lines),
            state,
            self._texts,
        )

    def _add_stream(self, name: str) -> list[Column]:
        if name in self._streams:
            return []
        self._streams[name] = Stream(name, self._passes.rows)
        return list(self._streams[name].columns)

    def append(self, batch: RouteBatch) -> None:
        """Append one pass."""
        self._check(batch)
        self._watch_budget()
        header = batch.header.copy()
        if self.counts_only:
            header["flags"] |= np.uint8(PassFlag.COUNTS_ONLY)
        kept = not header["flags"] & PassFlag.COUNTS_ONLY
        number = self._passes.rows
        if batch.label != self._label:
            self._label = batch.label
            self.add_label(Label(batch.label, number, OPEN))
        self._overrides.append(number, batch.overrides)
        stacks = batch.stacks
        main = self.model.streams[0] if self.model and self.model.layers else "main"
        header["id"], header["first_token"], header["n_tokens"] = number, 0, 0
        rows = 0
        for stream in self._streams.values():
            tokens = batch.tokens.get(stream.name)
            tokens = tokens if kept and tokens is not None else NO_TOKENS
            if stream.name == main:
                header["first_token"], header["n_tokens"] = stream.tokens.rows, len(tokens)
            stream.append(tokens, number, stacks)
            rows += len(tokens)
        sampled = header["flags"] & PassFlag.SAMPLED != 0
        self._count(stacks, rows, alone=not kept or sampled or any(stack.experts is None for stack in stacks))
        self._passes.append(header.reshape(1))
        if header["step"] >= 0:
            self._step = self._step.with_pass(int(header["step"]), number)
        for stream in self._streams.values():
            stream.whole = stream.tokens.rows

    def append_step(self, step: TrainingStep) -> None:
        """Append one training step, with the passes that have its number since the one before."""
        self._check_step(step)
        layers = {norms.layer: norms for norms in step.layers}
        if layers and not any(table.norms for table in self._tables):
            self._lay_out([column for table in self._tables for column in table.lay_out_norms(self._steps.rows)])
        row = step.row.copy()
        known = self._step.number == row["step"]
        row["first_pass"], row["last_pass"] = (self._step.first, self._step.last) if known else (self.passes,) * 2
        self._step = _NO_STEP
        for table in self._tables:
            table.append_norms(layers)
        self._steps.append(row.reshape(1))

    def add_label(self, label: Label) -> None:
        """Append a label."""
        self._labels.append(label.row)

    def _check_step(self, step: TrainingStep) -> None:
        """Refuse a step that does not fit before any of it is written."""
        layers = self.model.layers if self.model is not None else ()
        for norms in step.layers:
            if not 0 <= norms.layer < len(layers):
                raise ValueError(f"a training step came with a layer {norms.layer} that was not described")
            info, shapes = layers[norms.layer], (norms.gradients.shape, norms.outputs.shape)
            if shapes != ((info.experts,), (info.experts,)):
                raise ValueError(f"norms of {info.path} came as {shapes} instead of twice {(info.experts,)}")

    def _check(self, batch: RouteBatch) -> None:
        """Refuse a batch that does not fit before any of it is written."""
        if self.model is None:
            raise ValueError("a pass came before the model was described")
        for stack in batch.stacks:
            infos = {_look(info): info for info in [self.model.layers[place] for place in reversed(stack.places)]}
            for info in infos.values():
                rows = len(batch.tokens.get(info.stream, NO_TOKENS))
                if (misfit := _misfit(stack, rows, info)) is not None:
                    raise ValueError(misfit)

    def _count(self, stacks: Sequence[RouteStack], rows: int, alone: bool) -> None:
        counts = []
        for table in self._tables:
            assert table.sums is not None
            counts.append((table.sums, table.counts_of(stacks)))
        self._pyramid.add_pass(counts, rows, alone)

    def _watch_budget(self) -> None:
        if self._byte_budget is None or self.counts_only or self.bytes() <= self._byte_budget:
            return
        self.counts_only = True
        said = f"byte budget of {self._byte_budget:,} bytes reached"
        self.note(f"{said}: from pass {self._passes.rows} on only counts were kept")

    def add_texts(self, ids: np.ndarray, texts: Sequence[bytes]) -> None:
        """Append the texts of token ids seen for the first time."""
        self._vocabulary.append(ids, texts)

    def note(self, line: str) -> None:
        """Append a line that says what is missing or special."""
        text = " ".join(line.split()).encode()[:NOTE_BYTES].decode("utf-8", "ignore").encode()
        self._notes.append(np.array([text], NOTES.dtype))
        self._lines.append(text.decode())

    def bytes(self) -> int:
        """Return the bytes written, with those still waiting for their chunk."""
        return self.file.size() + sum(column.unflushed_bytes for column in self.file.columns)

    @property
    def passes(self) -> int:
        """Passes so far."""
        return self._passes.rows

    def commit(self) -> None:
        """Make everything so far survive a kill."""
        self.file.commit(self._passes.rows, self._committed)
        self._committed = self._passes.rows

    def close(self, state: State) -> None:
        """Write what is pending, with the last open block of counts."""
        self._pyramid.close_block()
        self.file.close(self._passes.rows, state)


class _StepPasses(NamedTuple):
    """The passes so far of the training step under way: first … last, end excluded."""

    number: int
    first: int
    last: int

    def with_pass(self, number: int, place: int) -> "_StepPasses":
        """Return the same with one more pass, or another step that begins with it."""
        return _StepPasses(number, self.first if number == self.number else place, place + 1)


_NO_STEP = _StepPasses(-1, 0, 0)


def _look(info: LayerInfo) -> tuple[str, int, int]:
    """What decides about the shapes of a layer's arrays."""
    return info.stream, info.experts, info.top_k


def _misfit(stack: RouteStack, rows: int, info: LayerInfo) -> str | None:
    """Name the first array whose shape is not what it should be, if there is one."""
    slots, values = (rows, info.top_k), (rows,)
    shapes = ((info.experts,), slots, slots, values, values, values, (rows, info.experts))
    for name, column, shape in zip(("counts", *COLUMNS), (stack.counts, *stack.columns), shapes, strict=True):
        if column is not None and column.shape != (len(stack.places), *shape):
            return f"{name} of {info.path} came as {column.shape[1:]} instead of {shape}"
    return None
