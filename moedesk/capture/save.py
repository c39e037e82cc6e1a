"""Saves a capture, or a recording that goes on, as a complete compressed file."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

from moedesk import __version__
from moedesk.capture.attributions import write_explanations
from moedesk.capture.column import encode
from moedesk.capture.description import UNKNOWN, write_model
from moedesk.capture.file import check_target, reason
from moedesk.capture.live import LiveCapture
from moedesk.capture.reader import Capture
from moedesk.capture.schema import FORMAT, LIBVER, NOTE_BYTES, NOTES, VERSION, ColumnSpec, State
from moedesk.capture.whole import Whole
from moedesk.core.errors import CaptureError

THREADS = max(2, min(8, (os.cpu_count() or 2) // 2))
"""Compression is all the work; half of the processors are left to the model and the window."""
AHEAD_BYTES = 32 << 20
"""Chunks that wait for compression or for the file: a bound on the memory, but for two very large ones."""


def save_capture(source: Capture | LiveCapture, target: Path, check: Callable[[float], None]) -> None:
    """Write what a store shows now as a complete, compressed capture; the source stays as it is and may go on growing.

    Parameters
    ----------
    source : Capture or LiveCapture
    target : Path
        Replaced in one step once all is written.
    check : callable
        Given the share done, 0…1, now and then; what it raises ends the saving, and nothing is left of it.

    Raises
    ------
    CaptureError
        If it can't be written there, or the source can't be read.
    """
    target = Path(target)
    if target.exists() and source.path.exists() and target.samefile(source.path):
        raise CaptureError(f"{target} is the file being saved; save it under another name")
    real = target.resolve()
    draft = real.with_name(real.name + ".saving")
    try:
        check_target(real)
        _write(draft, source, check)
        if real.exists():
            draft.chmod(real.stat().st_mode & 0o777)
        draft.replace(real)
    except OSError as error:
        raise CaptureError(f"{target} can't be saved: {reason(error)}") from None
    finally:
        draft.unlink(missing_ok=True)


def _write(path: Path, source: Capture | LiveCapture, check: Callable[[float], None]) -> None:
    file = h5py.File(path, "w", libver=LIBVER, locking=False)
    try:
        state, lines = _outcome(source)
        later = source.label_file.current
        labels = later.over(source.recorded_labels) if later else None
        whole = Whole(source.now if isinstance(source, LiveCapture) else source, labels)
        _write_small(file, whole, state, lines)
        if source.attributions:
            write_explanations(file, source.attributions)
        _write_columns(file, whole, check)
        file.flush()
    except BaseException:
        with suppress(OSError, RuntimeError):  # on a full disk HDF5 can't close it properly; it is thrown away anyway
            file.close()
        raise
    file.close()
    with path.open("rb+") as written:
        os.fsync(written.fileno())
    check(1.0)


def _outcome(source: Capture | LiveCapture) -> tuple[State, list[str]]:
    """Return what the saved file says of its recording."""
    if isinstance(source, LiveCapture):
        lines = list(source.notes)
        if source.state == State.RECORDING:
            return State.COMPLETE, [*lines, f"saved while the model was running; {source.n_passes:,} passes"]
        return source.state, lines
    state = source.contents.state
    return State.RECOVERED if state == State.RECORDING else state, list(source.contents.lines)


def _write_small(file: h5py.File, whole: Whole, state: State, lines: list[str]) -> None:
    """Write attributes, state, notes, model and places of layers."""
    file.attrs["format"] = np.bytes_(FORMAT)
    file.attrs["version"] = np.int64(VERSION)
    file.attrs["created"] = np.bytes_(whole.contents.created)
    file.attrs["writer"] = np.bytes_(f"moedesk {__version__}")
    file.create_dataset("state", data=np.uint8(state), track_times=False)
    notes = NOTES.create(file, len(lines), compress=True)
    notes[:] = np.array([line.encode()[:NOTE_BYTES] for line in lines], NOTES.dtype)
    if whole.contents.model.name != UNKNOWN:
        write_model(file, whole.contents.model)
    for table in whole.contents.tables:
        file.create_dataset(f"{table.path}/layers", data=np.array(table.places, "<i4"), track_times=False)


def _write_columns(file: h5py.File, whole: Whole, check: Callable[[float], None]) -> None:
    specs = whole.specs
    total = sum(spec.row_bytes * whole.rows(spec.path) for spec in specs) or 1
    done = 0
    with ThreadPoolExecutor(THREADS, thread_name_prefix="moedesk-save-gzip") as pool:
        for spec in specs:
            for size in _write_column(file, whole, spec, pool):
                done += size
                check(min(1.0, done / total))


def _write_column(file: h5py.File, whole: Whole, spec: ColumnSpec, pool: ThreadPoolExecutor) -> Iterator[int]:
    """Write one column, and yield the bytes dealt with now and then."""
    dataset = spec.create(file, 0, compress=True)
    rows = whole.rows(spec.path)
    dataset.resize(rows, axis=0)
    inner = (0,) * len(spec.row[1:])
    blank = np.full((spec.rows, *spec.row[1:]), spec.fill_value)
    waiting: deque[tuple[tuple[int, ...], Future[bytes]]] = deque()

    def write_oldest() -> None:
        place, chunk = waiting.popleft()
        dataset.id.write_direct_chunk(place, chunk.result())

    for start in range(0, rows, spec.rows):
        stop = min(start + spec.rows, rows)
        for lane in range(spec.lanes):
            block = blank.copy()
            block[: stop - start] = whole.read(spec.path, start, stop, lane if spec.row else None)
            if spec.row and block.tobytes() == blank.tobytes():
                continue  # never written: it reads as fill
            place = (start, lane, *inner) if spec.row else (start,)
            waiting.append((place, pool.submit(encode, block, spec)))
            if len(waiting) > max(2, AHEAD_BYTES // block.nbytes):
                write_oldest()
        yield (stop - start) * spec.row_bytes
    while waiting:
        write_oldest()
