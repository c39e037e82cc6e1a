"""A recording read while it goes on, against the plain arrays of what was handed to its writer."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import moedesk
from moedesk.capture import page_cache, pyramid, schema
from moedesk.capture.live import LiveCapture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.columns import PASS, SPAN
from moedesk.core.errors import CaptureError
from moedesk.core.store import Store
from tests.support.memory_store import LayerColumns, MemoryStore
from tests.support.routing import Plain, random_batch, random_model
from tests.support.until import PATIENCE

EVENTS = ["pass"] * 6 + ["counts only", "large", "publish", "publish", "read", "read", "commit", "layers", "stream"]
COLUMNS = ("experts", "weights", "entropy", "margin", "flags")


def memory_of(plain: Plain, passes: int) -> MemoryStore:
    """The first passes as a store of plain arrays."""
    some = Plain(plain.model, plain.batches[:passes])
    headers = np.zeros(passes, PASS)
    spans = {stream: np.zeros(passes, SPAN) for stream in plain.model.streams}
    for number, batch in enumerate(some.batches):
        headers[number] = batch.header
        headers[number]["id"] = number
    for stream, rows in spans.items():
        rows["count"] = [len(batch.tokens.get(stream, ())) for batch in some.batches]
        rows["first"] = np.cumsum(rows["count"]) - rows["count"]
    main = spans[plain.model.streams[0]]
    headers["first_token"], headers["n_tokens"] = main["first"], main["count"]
    streams = {stream: some.tokens(stream) if passes else np.empty(0) for stream in plain.model.streams}
    layers = [
        LayerColumns(*(some.column(name, place) if passes else np.empty(0) for name in COLUMNS))
        for place in range(len(plain.model.layers))
    ]
    return MemoryStore(plain.model, headers, streams, spans, layers)


def assert_answers(live: Store, plain: Plain, passes: int, rng: np.random.Generator) -> None:
    """Ask everything about the first ``passes`` passes."""
    memory = memory_of(plain, passes)
    assert live.n_passes == passes
    if not passes:
        return
    np.testing.assert_array_equal(live.read_passes(), memory.passes)
    a, b = sorted(rng.integers(0, passes + 1, 2).tolist())
    np.testing.assert_array_equal(live.read_passes(a, b), memory.passes[a:b])
    for stream in plain.model.streams:
        n = live.n_tokens(stream)
        assert n == len(memory.streams[stream])
        i, j = sorted(rng.integers(0, n + 1, 2).tolist())
        np.testing.assert_array_equal(live.read_tokens(i, j, stream), memory.streams[stream][i:j])
        if a < b:
            assert live.token_span(a, b, stream) == memory.token_span(a, b, stream)
    some = Plain(plain.model, plain.batches[:passes])
    per_pass = [some.counts(place) for place in range(len(plain.model.layers))]
    windows = live.window_counts(a, b)
    for layer in plain.model.layers:
        n = live.n_tokens(layer.stream)
        i, j = sorted(rng.integers(0, n + 1, 2).tolist())
        for name in COLUMNS:
            found, whole = getattr(live, name), getattr(memory.layers[layer.place], name)
            np.testing.assert_array_equal(found(layer), whole, f"{name} of {layer.place}")
            np.testing.assert_array_equal(found(layer, i, j), whole[i:j])
        counts = per_pass[layer.place]
        np.testing.assert_array_equal(live.counts(layer), counts.sum(axis=0))
        np.testing.assert_array_equal(live.counts(layer, by="pass"), counts)
        np.testing.assert_array_equal(windows[layer.place], counts[a:b].sum(axis=0))
    for first, last in ((a, b), (max(0, passes - 10), passes), (0, passes)):
        blocks = live.load_blocks(first, last, int(rng.integers(1, 20)))
        together = np.concatenate(per_pass, axis=1)
        for counts, (start, stop) in zip(blocks.counts, pairwise(blocks.edges.tolist()), strict=True):
            np.testing.assert_array_equal(counts, together[start:stop].sum(axis=0))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few passes fill several levels and many chunks."""
    monkeypatch.setattr(schema, "ROUTE_ROWS", 100)
    monkeypatch.setattr(pyramid, "BLOCK_TOKENS", 50)
    monkeypatch.setattr(pyramid, "BLOCK_PASSES", 3)


@pytest.mark.usefixtures("small_blocks")
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_of_events(tmp_path: Path, data: st.DataObject) -> None:
    """What is published stays as it is whatever is appended after it; publishing goes on to what was done by then."""
    path = tmp_path / "live.h5"
    plain = Plain(random_model(data.draw(st.integers(1, 3)), 16, 2))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    with CaptureWriter(path, compress=data.draw(st.booleans())) as writer, closing(writer.live()) as live:
        assert not live.model.layers
        assert live.n_passes == live.revision == 0
        writer.describe(plain.model)
        shown = 0
        events = data.draw(st.lists(st.sampled_from(EVENTS), min_size=1, max_size=25), "events")
        for number, event in enumerate(events):
            if event == "publish":
                writer.flush()
                revision = live.revision
                assert live.publish() == (live.revision > revision)
                assert not live.publish()
                shown = len(plain.batches)
            elif event == "read":
                if live.model.layers:
                    assert_answers(live, Plain(live.model, plain.batches), shown, rng)
            elif event == "commit":
                writer.flush()
            elif event == "layers":
                writer.describe(plain.grow(1, data.draw(st.sampled_from([5, 200])), 3, "main"))
            elif event == "stream":
                writer.describe(plain.grow(1, 16, 2, "encoder"))
            else:
                rows = 4200 if event == "large" else data.draw(st.sampled_from([0, 1, 2, 3, 60, 700]))
                absent = tuple(data.draw(st.sets(st.integers(0, 3), max_size=2)))
                counts_only = event == "counts only"
                batch = random_batch((7, number), plain.model, rows, absent=absent, counts_only=counts_only)
                writer.append(plain.add(batch))
        writer.close()
        assert writer.stopped is None
        live.publish()
        assert live.complete
        assert live.model == plain.model
        assert live.notes == ()
        assert_answers(live, plain, len(plain.batches), rng)
    with moedesk.open(path) as capture:
        assert_answers(capture, plain, len(plain.batches), rng)


def test_it_is_a_store(tmp_path: Path) -> None:
    """Names, texts, notes, logits, lazy rows."""
    plain = Plain(random_model(2, 16, 2))
    pieces = {1: b"na", 2: b"\xc3", 3: b"\xafve"}
    with CaptureWriter(tmp_path / "a.h5", compress=False, store_logits=True) as writer:
        live = writer.live()
        store: Store = live
        assert (store.name, live.path) == ("a.h5", tmp_path / "a.h5")
        live.name = "olmoe"
        writer.describe(plain.model)
        writer.add_texts(np.array([2, 1, -1]), [pieces[2], pieces[1], b"nothing"])
        writer.append(plain.add(random_batch((1, 0), plain.model, 4, logits=True)))
        plain.batches[0].tokens["main"]["token_id"] = [1, 2, 3, -1]
        writer.note("something is missing")
        writer.flush()
        assert store.n_passes == 0
        assert live.publish()
        assert (store.name, store.revision, store.complete) == ("olmoe", 1, False)
        assert store.notes == ("something is missing",)
        assert store.text(0, 4) == "na�⟨3⟩⟨-1⟩"
        writer.add_texts(np.array([3, 1]), [pieces[3], b"not again"])
        writer.flush()
        live.publish()
        assert store.text(0, 3) == "naïve"
        assert store.token_text([1, 2, 9]) == ["na", r"\xc3", "⟨9⟩"]
        logits = store.logits(1)
        assert logits is not None
        np.testing.assert_array_equal(logits, plain.column("logits", 1))
        assert len(live.passes) == 1
        assert live.tokens["token_id"].tolist() == [1, 2, 3, -1]
        assert "olmoe" in repr(live)
        with pytest.raises(ValueError, match="zip"):
            writer.add_texts(np.array([4, 5]), [b"one"])
    live.close()
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.text(0, 3) == "naïve"


def test_closing_it_leaves_the_writer_alone(tmp_path: Path) -> None:
    plain = Plain(random_model())
    with CaptureWriter(tmp_path / "a.h5", compress=False) as writer:
        writer.describe(plain.model)
        first, second = writer.live(), writer.live()
        writer.append(plain.add(random_batch((2, 0), plain.model, 5000)))
        writer.flush()
        assert first.publish()
        first.close()
        first.close()
        assert not first.publish()
        assert first.n_passes == 1
        with pytest.raises(CaptureError, match="the capture is closed"):
            first.experts(0)
        writer.append(plain.add(random_batch((2, 1), plain.model, 5000)))
        writer.flush()
        second.publish()
        assert_answers(second, plain, 2, np.random.default_rng(0))
    second.publish()
    third = writer.live()
    for live in (second, third):
        assert_answers(live, plain, 2, np.random.default_rng(0))
        live.close()


def test_publishing_never_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while the file is being laid out anew; a reader of rows does, and gets them."""
    plain = Plain(random_model())
    laying_out, go_on = threading.Event(), threading.Event()
    copyfile = shutil.copyfile

    def slow_copy(source: Path, target: Path) -> None:
        laying_out.set()
        assert go_on.wait(PATIENCE)
        copyfile(source, target)

    with (
        CaptureWriter(tmp_path / "a.h5", compress=False) as writer,
        closing(writer.live()) as live,
        ThreadPoolExecutor(1) as pool,
    ):
        writer.describe(plain.model)
        writer.append(plain.add(random_batch((8, 0), plain.model, 5000)))
        writer.flush()
        monkeypatch.setattr(shutil, "copyfile", slow_copy)
        writer.append(plain.add(random_batch((8, 1), plain.model, 5000)))
        writer.describe(plain.grow(1, 5, 1, "main"))
        try:
            assert laying_out.wait(PATIENCE)
            assert live.publish()
            assert (live.n_passes, live.n_tokens(), len(live.model.layers), live.notes) == (2, 10000, 3, ())
            reading = pool.submit(live.experts, 0)
        finally:
            go_on.set()
        np.testing.assert_array_equal(reading.result(60), plain.column("experts", 0))
        writer.flush()
        assert live.publish()
        assert_answers(live, plain, 2, np.random.default_rng(0))


def test_threads_read_while_it_is_written(tmp_path: Path) -> None:
    """Four threads ask without pause while passes, layers and the end come; what they get is what was appended."""
    plain = Plain(random_model(3, 16, 2))
    ready = [random_batch((3, number), plain.model, 1 + 331 * number % 900) for number in range(120)]
    everything = Plain(plain.model, ready)
    tokens = everything.tokens("main")
    columns = {name: [everything.column(name, place) for place in range(3)] for name in COLUMNS}
    counts = [everything.counts(place) for place in range(3)]
    ended = threading.Event()

    def look(live: LiveCapture, seed: int) -> int:
        rng, asked = np.random.default_rng(seed), 0
        while not ended.is_set() or not asked:
            n, rows = live.n_passes, live.n_tokens()
            if not n:
                continue
            place = int(rng.integers(0, 3))
            i, j = sorted(rng.integers(0, rows + 1, 2).tolist())
            for name in COLUMNS:
                np.testing.assert_array_equal(getattr(live, name)(place, i, j), columns[name][place][i:j])
            np.testing.assert_array_equal(live.read_tokens(i, j), tokens[i:j])
            first, last = sorted(rng.integers(0, n + 1, 2).tolist())
            window = live.window_counts(first, last)[place]
            np.testing.assert_array_equal(window, counts[place][first:last].sum(axis=0))
            blocks = live.load_blocks(max(0, n - 10), n, 10)
            np.testing.assert_array_equal(blocks.counts[-1][:16], counts[0][blocks.edges[-2] : blocks.edges[-1]].sum(0))
            asked += 1
        return asked

    writer = CaptureWriter(tmp_path / "a.h5", compress=False)
    live = writer.live()
    with ThreadPoolExecutor(4) as pool:
        looking = [pool.submit(look, live, seed) for seed in range(4)]
        try:
            writer.describe(plain.model)
            for number, batch in enumerate(ready):
                if number in (40, 80):
                    writer.describe(plain.grow(1, 5, 1, "main" if number == 40 else "encoder"))
                writer.append(batch)
                writer.flush()
                live.publish()
            writer.close()
            live.publish()
        finally:
            ended.set()
        assert all(future.result() > 0 for future in looking)
    live.close()


def test_append_waits_while_too_much_is_queued(tmp_path: Path) -> None:
    """The queue takes no more than its bound and one batch, whatever kind of pass comes."""
    model = random_model(2, 400, 2)
    writer = CaptureWriter(tmp_path / "a.h5", compress=False, queue_bytes=100_000)
    live = writer.live()
    writer.describe(model)
    seen = []
    for number in range(300):
        writer.append(random_batch((4, number), model, 3, counts_only=number % 2 == 0))
        seen.append(writer.queued_bytes)
    writer.close()
    live.publish()
    assert live.n_passes == 300
    live.close()
    assert max(seen) <= 100_000 + 7_000


def test_what_is_old_leaves_the_systems_cache_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is new is written back in steps, what is older than the part to be kept let go, and nothing else of it."""
    step, kept = 1 << 16, 1 << 19
    monkeypatch.setattr(page_cache, "STEP_BYTES", step)
    monkeypatch.setattr(page_cache, "CACHED_BYTES", kept)
    advised: list[tuple[int, int]] = []

    def advise(handle: int, first: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        if os.fstat(handle).st_ino == path.stat().st_ino:
            advised.append((first, first + length))

    monkeypatch.setattr(os, "posix_fadvise", advise, raising=False)
    monkeypatch.setattr(os, "POSIX_FADV_DONTNEED", 4, raising=False)
    model, path = random_model(8, 64, 8), tmp_path / "a.h5"
    with CaptureWriter(path, compress=False) as writer:
        writer.describe(model)
        for number in range(40):
            writer.append(random_batch((number,), model, 2000))
            writer.flush()
        size = path.stat().st_size
    times = np.zeros(size, int)
    for first, last in advised:
        times[first:last] += 1
    begun = max(last for _, last in advised)
    assert begun > 20 * kept
    assert (times[: begun - kept] == 2).all(), "once to be written, once to go"
    assert (times[begun - kept : begun] == 1).all()


def test_a_disk_that_takes_its_time_does_not_hold_up_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_cache, "STEP_BYTES", 1 << 16)
    waiting, written = threading.Event(), threading.Event()

    def advise(handle: int, first: int, length: int, advice: int) -> None:
        waiting.set()
        assert written.wait(PATIENCE)

    monkeypatch.setattr(os, "posix_fadvise", advise, raising=False)
    monkeypatch.setattr(os, "POSIX_FADV_DONTNEED", 4, raising=False)
    model = random_model(8, 64, 8)
    with CaptureWriter(tmp_path / "a.h5", compress=False) as writer, closing(writer.live()) as live:
        writer.describe(model)
        writer.append(random_batch((0,), model, 2000))
        writer.flush()
        assert waiting.wait(PATIENCE)
        writer.append(random_batch((1,), model, 2000))
        writer.flush()
        live.publish()
        assert live.n_passes == 2
        written.set()
    assert writer.stopped is None


def test_a_compressed_capture_is_left_to_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_cache, "STEP_BYTES", 1)
    monkeypatch.setattr(os, "posix_fadvise", lambda *arguments: advised.append(arguments), raising=False)
    advised: list[object] = []
    model = random_model(8, 64, 8)
    with CaptureWriter(tmp_path / "a.h5") as writer:
        writer.describe(model)
        writer.append(random_batch((0,), model, 2000))
        writer.flush()
    assert not advised
