"""What goes into a capture comes out again, compared with plain numpy arrays kept beside it."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import numpy.lib.recfunctions
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import moedesk
from moedesk.capture.reader import Capture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.errors import CaptureError
from moedesk.core.model import LayerInfo, ModelInfo
from moedesk.core.verification import Check, LayerVerification, Verdict, Verification
from tests.support.routing import Plain, random_batch, random_model, random_modules

COLUMNS = ("experts", "weights", "entropy", "margin", "flags")


def assert_same(capture: Capture, plain: Plain, columns: tuple[str, ...] = COLUMNS) -> None:
    assert capture.n_passes == len(plain.batches)
    for stream in plain.model.streams:
        np.testing.assert_array_equal(capture.read_tokens(stream=stream), plain.tokens(stream))
    for place in range(len(plain.model.layers)):
        for name in columns:
            np.testing.assert_array_equal(
                getattr(capture, name)(place), plain.column(name, place), f"{name} of {place}"
            )
        np.testing.assert_array_equal(capture.counts(place, by="pass"), plain.counts(place))
        np.testing.assert_array_equal(capture.counts(place), plain.counts(place).sum(axis=0))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_recordings(tmp_path: Path, data: st.DataObject) -> None:
    """Streams, late layers, passes with counts only, absent layers, dropped slots, padding, flushes at any moment."""
    path = tmp_path / "random.h5"
    logits = data.draw(st.booleans(), "logits")
    plain = Plain(random_model(data.draw(st.integers(1, 3)), 16, 2))
    with CaptureWriter(path, store_logits=logits) as writer:
        writer.describe(plain.model)
        for number in range(data.draw(st.integers(0, 14), "passes")):
            event = data.draw(st.sampled_from(["pass"] * 6 + ["flush", "layers", "stream"]))
            if event == "flush":
                writer.flush()
            elif event != "pass":
                stream = "encoder" if event == "stream" else "main"
                writer.describe(
                    plain.grow(data.draw(st.integers(1, 2)), data.draw(st.sampled_from([5, 200])), 3, stream)
                )
            batch = random_batch(
                (7, number),
                plain.model,
                data.draw(st.sampled_from([0, 1, 3, 700, 5000])),
                absent=tuple(data.draw(st.sets(st.integers(0, 3), max_size=2))),
                counts_only=data.draw(st.sampled_from([False, False, True])),
                logits=logits,
            )
            writer.append(plain.add(batch))
    assert writer.stopped is None
    with moedesk.open(path) as capture:
        assert capture.complete
        assert capture.notes == ()
        assert capture.model == plain.model
        if plain.batches:
            assert_same(capture, plain, (*COLUMNS, "logits") if logits else COLUMNS)


def test_chunks_and_tails(tmp_path: Path) -> None:
    """More rows than a chunk holds, flushed while one is partly full; read back while the writer is at work, and after."""
    plain = Plain(random_model(2, 300, 3))
    with CaptureWriter(tmp_path / "a.h5") as writer:
        writer.describe(plain.model)
        for number in range(40):
            writer.append(plain.add(random_batch((1, number), plain.model, 100 + 37 * number)))
            if number % 10 == 4:
                writer.flush()
                with moedesk.open(tmp_path / "a.h5") as running:
                    assert not running.complete
                    assert "still running" in running.notes[-1]
                    assert_same(running, plain)
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert_same(capture, plain)
        n = capture.n_tokens()
        for i, j in ((0, 1), (4000, 4200), (4095, 4097), (n - 5, n), (n, n), (5, 5), (17, None)):
            np.testing.assert_array_equal(capture.experts(1, i, j), plain.column("experts", 1)[i:j])
            np.testing.assert_array_equal(capture.tokens[i:j], plain.tokens("main")[i:j])


def test_passes_are_numbered_and_placed(tmp_path: Path) -> None:
    plain = Plain(random_model())
    with CaptureWriter(tmp_path / "a.h5") as writer:
        writer.describe(plain.model)
        for number, rows in enumerate((3, 0, 5)):
            writer.append(plain.add(random_batch((2, number), plain.model, rows)))
    with moedesk.open(tmp_path / "a.h5") as capture:
        passes = np.asarray(capture.passes)
        assert passes["id"].tolist() == [0, 1, 2]
        assert passes["first_token"].tolist() == [0, 3, 3]
        assert passes["n_tokens"].tolist() == [3, 0, 5]
        assert capture.passes["t0_ns"].tolist() == [0, 1000, 2000]
        assert capture.passes[-1]["n_tokens"] == 5
        assert [int(row["id"]) for row in capture.passes] == [0, 1, 2]
        assert capture.passes[::2]["id"].tolist() == [0, 2]
        assert len(capture.passes) == 3
        assert [capture.token_span(i, j) for i, j in ((0, 1), (1, 2), (0, 3), (2, 2))] == [
            (0, 3),
            (3, 3),
            (0, 8),
            (0, 0),
        ]
        with pytest.raises(IndexError):
            capture.passes[3]


def test_the_main_stream_may_turn_up_late(tmp_path: Path) -> None:
    plain = Plain(random_model(1, 8, 2, stream="encoder"))
    with CaptureWriter(tmp_path / "a.h5") as writer:
        writer.describe(plain.model)
        writer.append(plain.add(random_batch((3, 0), plain.model, 6)))
        writer.describe(plain.grow(1, 8, 2, "decoder"))
        writer.append(plain.add(random_batch((3, 1), plain.model, 4)))
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.model.streams == ("decoder", "encoder")
        assert capture.passes["n_tokens"].tolist() == [0, 4]
        assert capture.n_tokens() == 4
        assert capture.n_tokens("encoder") == 10
        assert_same(capture, plain)
        with pytest.raises(CaptureError, match="no token stream 'vision'; the capture has decoder, encoder"):
            capture.n_tokens("vision")


def test_float16_halves_what_is_kept(tmp_path: Path) -> None:
    plain = Plain(random_model())
    with CaptureWriter(tmp_path / "a.h5", weights="float16", store_logits=True) as writer:
        writer.describe(plain.model)
        writer.append(plain.add(random_batch((4, 0), plain.model, 50, logits=True)))
    with moedesk.open(tmp_path / "a.h5") as capture:
        for name in ("weights", "entropy", "margin", "logits"):
            values = getattr(capture, name)(0)
            assert values.dtype == np.float32
            np.testing.assert_array_equal(values, plain.column(name, 0).astype(np.float16))


def test_logits_only_on_request(tmp_path: Path) -> None:
    model = random_model()
    with CaptureWriter(tmp_path / "a.h5") as writer:
        writer.describe(model)
        writer.append(random_batch((5, 0), model, 5, logits=True))
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.logits(0) is None


def test_model_round_trip(tmp_path: Path) -> None:
    layers = (
        LayerInfo("h.0", "Moé", 512, 8, 2, "sigmoid+bias, 4 of 8 groups", "decoder", 2.5, "h.0.gate", "h.0.experts", 0),
        LayerInfo("h.1.mlp", "B", 4, 1, place=1),
    )
    config = {"a": 1, "b": [1.5, None, {"c": "ü"}], "nan": float("inf")}
    model = ModelInfo(
        "größe", "X", layers, random_modules(3), "bfloat16", "cpu", 2**40, config, "tok", {"torch": "2.13"}
    )
    with CaptureWriter(tmp_path / "a.h5") as writer:
        writer.describe(model)
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.model == model
        assert capture.n_passes == capture.n_tokens() == 0
        assert "größe" in repr(capture)


def test_a_capture_from_before_layers_said_who_chooses(tmp_path: Path) -> None:
    """Older files have no ``adapter``, ``selection`` and ``identity``: those are what they were for all layers then."""
    model = random_model(2)
    late = ("adapter", "selection", "identity")
    odd = [replace(layer, adapter="odd", selection="soft", identity=1) for layer in model.layers]
    with CaptureWriter(tmp_path / "a.h5") as writer:
        writer.describe(replace(model, layers=tuple(odd)))
        writer.append(random_batch((0,), model, 4))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        rows = file["model/layers"][()]
        assert set(late) < set(rows.dtype.names)
        del file["model/layers"]
        older = np.lib.recfunctions.drop_fields(rows, late)
        file.create_dataset("model/layers", data=older, track_times=False)
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.model.layers == model.layers
        assert [(layer.adapter, layer.selection, layer.identity) for layer in capture.model.layers] == [
            ("", "token choice", 0)
        ] * len(model.layers)
        assert len(capture.passes) == 1
        assert capture.experts(0).shape[0] == len(capture.tokens)


def test_texts(tmp_path: Path) -> None:
    """A character split over two tokens comes out whole; an id without text says so."""
    pieces = {1: b"na", 2: b"\xc3", 3: b"\xafve", 4: b" \xf0\x9f"}
    asked: list[int] = []

    def vocabulary(ids: np.ndarray) -> list[bytes]:
        asked.extend(ids.tolist())
        return [pieces[i] for i in ids.tolist()]

    model = random_model(1)
    with CaptureWriter(tmp_path / "a.h5", vocabulary) as writer:
        writer.describe(model)
        for number, ids in enumerate(([1, 2, 3], [3, 1, -1], [4, 4, 4])):
            batch = random_batch((6, number), model, 3)
            batch.tokens["main"]["token_id"] = ids
            writer.append(batch)
    assert asked == [1, 2, 3, 4]
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.text(0, 3) == "naïve"
        assert capture.text(3, 6) == "�vena⟨-1⟩"
        assert capture.token_text([1, 2, 9]) == ["na", r"\xc3", "⟨9⟩"]


def test_a_broken_tokenizer_costs_only_its_texts(tmp_path: Path) -> None:
    model = random_model(1)
    with CaptureWriter(tmp_path / "a.h5", vocabulary=lambda ids: [b"one too few"] * (len(ids) - 1)) as writer:
        writer.describe(model)
        for number in range(2):
            writer.append(random_batch((8, number), model, 3))
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.n_passes == 2
        assert len(capture.notes) == 1
        assert capture.notes[0].startswith("token texts are missing from here on: ValueError")


def test_byte_budget_keeps_exact_counts(tmp_path: Path) -> None:
    plain = Plain(random_model(3, 16, 2))
    with CaptureWriter(tmp_path / "a.h5", byte_budget=300_000) as writer:
        writer.describe(plain.model)
        for number in range(60):
            writer.append(plain.add(random_batch((9, number), plain.model, 500)))
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.complete
        kept = np.asarray(capture.passes)["flags"] == 0
        assert 0 < kept.sum() < 60
        assert "byte budget of 300,000 bytes reached" in capture.notes[0]
        assert f"from pass {kept.sum()} on" in capture.notes[0]
        assert capture.n_tokens() == 500 * kept.sum()
        for place in range(3):
            np.testing.assert_array_equal(capture.counts(place, by="pass"), plain.counts(place))


def test_a_batch_that_does_not_fit_stops_the_writer(tmp_path: Path) -> None:
    model = random_model(2, 16, 2)
    with CaptureWriter(tmp_path / "a.h5") as writer:
        writer.describe(model)
        writer.append(random_batch((10, 0), model, 5))
        writer.append(random_batch((10, 1), random_model(2, 16, 3), 5))
        writer.flush()
        assert "experts of model.layers.0.mlp came as (5, 3) instead of (5, 2)" in (writer.stopped or "")
        writer.append(random_batch((10, 2), model, 5))
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert (capture.n_passes, capture.complete) == (1, False)
        assert capture.notes == (writer.stopped,)


def test_nothing_recorded(tmp_path: Path) -> None:
    CaptureWriter(tmp_path / "a.h5").close()
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.n_passes == capture.n_tokens() == 0
        assert len(capture.tokens) == len(capture.read_passes()) == 0
        assert capture.window_counts() == []
        assert capture.load_blocks(0, 0, 10).counts.shape == (0, 0)
        assert capture.text(0, 5) == ""
    with pytest.raises(CaptureError, match="closed"):
        capture.read_passes()
    assert "closed" in repr(capture)


def test_no_variable_length_data_and_only_standard_filters(tmp_path: Path) -> None:
    plain = Plain(random_model())
    with CaptureWriter(tmp_path / "a.h5", vocabulary=lambda ids: [b"x"] * len(ids)) as writer:
        writer.note("a note")
        writer.describe(plain.model)
        writer.append(random_batch((11, 0), plain.model, 5000))
    kinds = []

    def visit(name: str, item: h5py.HLObject) -> None:
        types = [item.dtype] if isinstance(item, h5py.Dataset) else []
        types += [item.attrs.get_id(key).dtype for key in item.attrs]
        for dtype in types:
            kinds.extend([(name, dtype[field]) for field in dtype.names] if dtype.names else [(name, dtype)])
        if isinstance(item, h5py.Dataset):
            assert set(item._filters) <= {"gzip", "shuffle"}, name

    with h5py.File(tmp_path / "a.h5") as file:
        visit("/", file)
        file.visititems(visit)
    assert len(kinds) > 50
    for name, dtype in kinds:
        assert dtype.kind in "biufS", name
        assert h5py.check_vlen_dtype(dtype) is None, name


def test_what_a_self_test_found_may_come_while_passes_are_written(tmp_path: Path) -> None:
    checks = (Check("replay", Verdict.VERIFIED, "Σ w·E(x)", 1e-7, 4e-6), Check("logits", Verdict.NOT_CHECKED, "none"))
    tested = Verification("M", "2026", "2 rows", 0.5, checks, (LayerVerification("a", "a.experts", checks),), ("note",))
    plain = Plain(random_model(2, 16, 2))
    path = tmp_path / "a.h5"
    with CaptureWriter(path) as writer:
        live = writer.live()
        writer.describe(plain.model)
        for number in range(8):
            if number == 5:
                writer.describe(replace(plain.model, verification=tested))
            writer.append(plain.add(random_batch((19, number), plain.model, 700)))
        writer.flush()
        live.publish()
        assert live.model.verification == tested
        live.close()
    with moedesk.open(path) as capture:
        assert capture.model == replace(plain.model, verification=tested)
        assert_same(capture, plain)


def test_a_model_that_was_never_tested(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with CaptureWriter(path) as writer:
        writer.describe(random_model())
    with moedesk.open(path) as capture:
        assert capture.model.verification is None
