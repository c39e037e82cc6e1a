"""One pass, arrived on the host: its header, token rows and routes, as a ``RouteBatch``. NumPy only, on the writer's thread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import nn

from moedesk.core.batch import LayerRoutes, RouteBatch, RouteStack, StackedLayers
from moedesk.core.columns import PASS, TOKEN, PassFlag, Phase, TokenKind
from moedesk.core.training import TrainingStep
from moedesk.probe.adapters.adapter import ABSENT
from moedesk.probe.taking.block import Block, blocks_of, numpy_of
from moedesk.probe.taking.calls import Call
from moedesk.probe.taking.overridden import Changed, Marks, acted
from moedesk.probe.taking.tap import Piece, Transfer
from moedesk.probe.taking.tokens import (
    STREAM_KINDS,
    HostCall,
    Numbered,
    Sequences,
    find_phase,
    token_rows,
    unknown_rows,
)
from moedesk.probe.training.outputs import OutputNorms, OutputSums
from moedesk.probe.training.steps import RecordedStep


@dataclass
class RecordedPass:
    """One forward, as the hooks left it; its tensors may still be on their way.

    Attributes
    ----------
    t0_ns, t1_ns : int
        Wall clock at its start; that plus the time taken.
    calls : list of Call
        Outermost first.
    pieces : list of Piece
        Its events.
    full : bool
        Whether more than counts is kept.
    training, failed, caches : bool
        Training mode with gradients on; the forward raised; the model fills a KV cache unless told otherwise.
    step : int
        Training step, -1 outside training.
    spared, shed, dropped : bool
        There was room for its ids and weights, but not for its logits; for its counts only; for nothing.
    evaluating : bool
        A Trainer says that it is evaluating.
    rank : int
        Of this process among those that run together.
    label : str
        What the user says it is.
    outputs : sequence of OutputNorms
        Norms of what the experts put out, if they are wanted.
    overridden : mapping
        What overrides changed, call by call, by the experts of the layer.
    """

    t0_ns: int
    transfer: Transfer
    pieces: list[Piece]
    calls: list[Call] = field(default_factory=list)
    t1_ns: int = 0
    full: bool = True
    training: bool = False
    failed: bool = False
    caches: bool = False
    step: int = -1
    spared: bool = False
    shed: bool = False
    dropped: bool = False
    evaluating: bool = False
    rank: int = 0
    label: str = ""
    outputs: Sequence[OutputNorms] = ()
    overridden: Mapping[nn.Module, Sequence[Changed]] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """About what it holds, besides pieces that are being reduced already."""
        norms = sum(norms.nbytes for norms in self.outputs)
        return _PASS_BYTES + norms + sum(piece.nbytes for piece in self.pieces)


_PASS_BYTES = 8192
"""What a pass holds besides its events: calls, and their tokens."""


class BatchMaker:
    """Turns recorded passes into batches, in order; numbers sequences through the capture.

    Attributes
    ----------
    kinds : mapping
        Token ids that stand for images or audio.
    places : mapping
        Place in ``ModelInfo.layers`` by path of the experts module.
    notes : set of str
        What had to be left out.
    outputs : OutputSums
        Norms of outputs in the training step under way.
    """

    def __init__(self, kinds: Mapping[int, TokenKind]) -> None:
        self.kinds = kinds
        self.places: dict[str, int] = {}
        self.notes: dict[str, None] = {}
        self.outputs = OutputSums()
        self._sequences = Sequences()

    def make_step(self, recorded: RecordedStep) -> TrainingStep:
        """Return a training step, after its passes; waits for its copies."""
        return recorded.make(self.places, self.outputs)

    def sequences_of(self, calls: Sequence[HostCall]) -> list[np.ndarray]:
        """Return the sequences of each token of calls of the next pass, without taking note of them."""
        numbers = self._sequences.copy()
        return [numbers.number(call).sequences for call in calls]

    def make(self, recorded: RecordedPass) -> RouteBatch:
        """Return the batch of a pass; waits for its copies."""
        recorded.transfer.wait()
        calls = [arrive(call) for call in recorded.calls]
        blocks = self._sound(blocks_of([group for piece in recorded.pieces for group in piece.groups()]))
        marks = {experts: Marks(changed) for experts, changed in recorded.overridden.items()}
        for block in blocks if marks else ():
            block.correct(marks)
        blocks = [in_their_rows(block, calls) for block in blocks]
        numbered: dict[int, Numbered] = {}
        rows: dict[str, np.ndarray] = {}
        unknown = False
        for stream in dict.fromkeys(block.stream for block in blocks):
            members = [block for block in blocks if block.stream == stream]
            stacks = {binding.candidate.stack_path for block in members for binding in block.bindings}
            seen = [block.rows for block in members for _ in block.bindings]
            rows[stream] = self._stream_rows(stream, [call for call in calls if call.path in stacks], seen, numbered)
            unknown |= bool((rows[stream]["token_id"] == -1).any())
        layers = StackedLayers([self._stack(block, rows[block.stream], recorded.full, marks) for block in blocks])
        self._add_outputs(recorded.outputs, rows, layers)
        header = self._header(recorded, calls, rows, unknown, any(call.rewound for call in numbered.values()))
        if not recorded.full:
            rows = {stream: np.zeros(0, TOKEN) for stream in rows}
        return RouteBatch(header, rows, layers, recorded.label, acted(recorded.overridden))

    def _add_outputs(
        self, outputs: Sequence[OutputNorms], rows: Mapping[str, np.ndarray], routes: Sequence[LayerRoutes]
    ) -> None:
        known = {layer.layer: layer for layer in routes} if outputs else {}
        for norms in outputs:
            tokens, place = rows.get(norms.binding.layer.stream), self.places[norms.binding.candidate.path]
            self.outputs.add(norms, None if tokens is None else tokens["is_padding"], known.get(place))

    def _sound(self, blocks: Sequence[Block]) -> list[Block]:
        """The blocks without layers whose adapter gave ids of experts that don't exist."""
        sound = []
        for block in blocks:
            experts = block.bindings[0].layer.experts
            if block.bindings[0].adapter is None:  # the experts themselves got these ids
                sound.append(block)
                continue
            wrong = np.logical_or.reduce((block.ids >= experts) | (block.ids < ABSENT), axis=(1, 2))
            for binding in (binding for binding, bad in zip(block.bindings, wrong, strict=True) if bad):
                self.notes[
                    f"{binding.layer.path}: some passes are left out, since its adapter {binding.layer.adapter!r} gave ids "
                    f"outside 0 to {experts - 1}"
                ] = None
            if not wrong.any():
                sound.append(block)
            elif not wrong.all():
                sound.append(block.only(~wrong))
        return sound

    def _stream_rows(
        self, stream: str, calls: Sequence[HostCall], seen: Sequence[int], numbered: dict[int, Numbered]
    ) -> np.ndarray:
        """The token rows of the calls if any layer saw as many; else as many unknown rows as most layers saw."""
        total = sum(call.batch * call.length for call in calls)
        if stream not in STREAM_KINDS and total and total in seen:
            parts = []
            for call in calls:
                if id(call) not in numbered:
                    numbered[id(call)] = self._sequences.number(call)
                parts.append(token_rows(call, numbered[id(call)].sequences, self.kinds))
            return parts[0] if len(parts) == 1 else np.concatenate(parts)
        return unknown_rows(max(set(seen), key=seen.count), STREAM_KINDS.get(stream, TokenKind.TEXT))

    def _stack(self, block: Block, tokens: np.ndarray, full: bool, marks: Mapping[nn.Module, Marks]) -> RouteStack:
        places = [self.places[binding.candidate.path] for binding in block.bindings]
        matched = block.rows == len(tokens)
        counts = block.counts(tokens["is_padding"] if matched else None)
        if not matched:
            for binding in block.bindings:
                text = (
                    f"{binding.layer.path}: only counts, since its {block.rows} rows are not the {len(tokens)} tokens"
                )
                self.notes[text] = None
        if not full or not matched:
            return RouteStack(tuple(places), counts)
        stack = block.stack(places, counts)
        return self._marked(block, stack, marks) if marks else stack

    def _marked(self, block: Block, stack: RouteStack, marks: Mapping[nn.Module, Marks]) -> RouteStack:
        """The routes with the rows flagged that overrides changed."""
        flags = np.zeros(block.ids.shape[:2], np.uint8) if stack.flags is None else stack.flags
        for binding, row in zip(block.bindings, flags, strict=True):
            changed = marks.get(binding.candidate.experts)
            if changed is not None and not changed.mark(row):
                self.notes[f"{binding.layer.path}: which rows an override changed is not known in some passes"] = None
        return replace(stack, flags=flags)

    def _header(
        self,
        recorded: RecordedPass,
        calls: Sequence[HostCall],
        rows: Mapping[str, np.ndarray],
        unknown: bool,
        rewound: bool,
    ) -> np.ndarray:
        evaluating = recorded.evaluating and not recorded.training
        main = next((call for call in reversed(calls) if call.length), None)
        values = {
            "phase": _EVAL if evaluating else find_phase(calls, recorded.training, recorded.caches),
            "flags": (not recorded.full and _COUNTS_ONLY)
            | (recorded.failed and _FAILED)
            | (unknown and _TOKENS_UNKNOWN)
            | (rewound and _REWOUND)
            | (recorded.full and recorded.spared and _SPARED),
            "rank": recorded.rank,
            "step": recorded.step,
            "t0_ns": recorded.t0_ns,
            "t1_ns": recorded.t1_ns,
            "n_seen": sum(len(part) for part in rows.values()),
            "n_padding": sum(np.count_nonzero(part["is_padding"]) for part in rows.values()),
            "batch": main.batch if main else 0,
            "past": main.past if main else 0,
        }
        return np.array(tuple(values.get(name, 0) for name in PASS.names or ()), PASS)


# As integers: an IntFlag takes microseconds to combine.
_COUNTS_ONLY, _FAILED = int(PassFlag.COUNTS_ONLY), int(PassFlag.FAILED)
_EVAL = int(Phase.EVAL)
_TOKENS_UNKNOWN, _REWOUND = int(PassFlag.TOKENS_UNKNOWN), int(PassFlag.REWOUND)
_SPARED = int(PassFlag.SPARED)


def in_their_rows(block: Block, calls: Sequence[HostCall]) -> Block:
    """Return a block that saw only some rows of its stream with all of them; any other as it is."""
    candidate = block.bindings[0].candidate
    marks = [call.marks for call in calls if call.path == candidate.stack_path and call.marks is not None]
    if candidate.pool is None or not marks:
        return block
    rows = (np.concatenate([part.reshape(-1) for part in marks]) != 0) == candidate.pool.marked
    return block.scattered(rows) if np.count_nonzero(rows) == block.rows < len(rows) else block


def arrive(call: Call) -> HostCall:
    """Return a call whose tensors have arrived."""
    past = call.past if isinstance(call.past, int) else int(call.past.max())
    tensors = call.ids, call.positions, call.padding, call.starts
    ids, positions, padding, starts = (None if tensor is None else numpy_of(tensor) for tensor in tensors)
    return HostCall(
        call.path, call.batch, call.length, past, ids, positions, padding, starts, call.axes,
        call.cache, call.source, call.output, call.caching, call.labelled,
        None if call.marks is None else numpy_of(call.marks),
    )  # fmt: skip
