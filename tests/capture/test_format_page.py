"""Someone who has only docs/capture-format.md reads the same as ``moedesk.open``."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import moedesk
from moedesk.capture.save import save_capture
from moedesk.capture.schema import LEVELS, ROUTE_ROWS, VERSION
from moedesk.capture.writer import CaptureWriter
from moedesk.core.columns import PASS, TOKEN, PassFlag, Phase, RouteFlag, TokenKind
from moedesk.core.override import Override, OverrideKind
from moedesk.core.verification import Check, Verdict, Verification
from tests.core.test_attribution import WHY
from tests.support.killed import kill_once
from tests.support.routing import Plain, random_batch, random_model

ABLATE = Override(OverrideKind.ABLATE, (1,), (3,), name="näh")
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "capture-format.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def run(page: str, snippet: int, path: Path, names: dict[str, object] | None = None) -> dict[str, object]:
    """Run a snippet of the page on a file."""
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[snippet]
    found = dict(names or {})
    exec(re.sub(r'"(run|killed)\.h5"', lambda _: repr(str(path)), code), found)
    return found


@pytest.mark.parametrize("compress", [True, False])
def test_a_finished_capture(tmp_path: Path, page: str, compress: bool) -> None:
    tested = Verification("RandomForTests", checks=(Check("outputs", Verdict.VERIFIED, "same bits"),))
    plain = Plain(replace(random_model(1, 16, 2), verification=tested))
    plain.grow(2, 200, 3, "main")
    path = tmp_path / "a.h5"
    with CaptureWriter(path, lambda ids: [f"⟪{i}⟫".encode() for i in ids], compress=compress) as writer:
        writer.describe(plain.model)
        for number in range(6):
            batch = random_batch((61, number), plain.model, 1500, counts_only=number == 4)
            writer.append(replace(plain.add(batch), overrides=(ABLATE,) if number in (1, 2, 5) else ()))
    found = run(page, 0, path)
    with moedesk.open(path) as capture:
        assert found["path"] == capture.model.layers[1].path
        assert found["E"] == 200
        np.testing.assert_array_equal(found["experts"], capture.experts(1, 0, 100))
        np.testing.assert_array_equal(found["weights"], capture.weights(1, 0, 100))
        np.testing.assert_array_equal(found["flags"], capture.flags(1, 0, 100))
        np.testing.assert_array_equal(found["tokens"], capture.tokens[:100])
        np.testing.assert_array_equal(found["counts"], capture.counts(1))
        np.testing.assert_array_equal(found["counts"], plain.counts(1).sum(axis=0))
        i, j = capture.token_span(3, 4)
        np.testing.assert_array_equal(found["routing_of_pass_3"], capture.experts(1, i, j))
        assert found["verification"] == capture.model.verification.to_json() == tested.to_json()
        assert found["overrides"] == [ABLATE.to_json()]
        assert found["overridden"] == {(0, 1): 3, (0, 5): 6}
        assert str(found["words"]).replace("?", "⟨-1⟩") == capture.text(0, 100)
    found["file"].close()  # type: ignore[attr-defined]


def test_what_was_explained(tmp_path: Path, page: str) -> None:
    with CaptureWriter(tmp_path / "a.h5") as writer:
        plain = Plain(random_model(1, 16, 2))
        plain.grow(2, 200, 3, "main")
        writer.describe(plain.model)
        for number in range(6):
            writer.append(plain.add(random_batch((61, number), plain.model, 1500)))
    with moedesk.open(tmp_path / "a.h5") as capture:
        capture.attribution_file.add(WHY)
        save_capture(capture, tmp_path / "b.h5", lambda share: None)
    found = run(page, 0, tmp_path / "b.h5")
    assert found["parts"] == [component.name for component in WHY.components]
    np.testing.assert_array_equal(found["contributions"], WHY.contributions)
    found["file"].close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("compress", [True, False])
def test_a_killed_one(tmp_path: Path, page: str, compress: bool) -> None:
    path = tmp_path / "a.h5"
    kill_once(path, 7, 0.4, 10, compress)
    names: dict[str, object] = {}
    exec("import h5py\nimport numpy as np", names)
    found = run(page, 1, path, names)
    with moedesk.open(path) as capture:
        assert found["passes"] == capture.n_passes > 0
        np.testing.assert_array_equal(found["saved_experts"][:, 2], capture.experts(2))  # type: ignore[index]
        np.testing.assert_array_equal(found["saved_passes"]["t0_ns"], capture.passes["t0_ns"])  # type: ignore[index]
    found["file"].close()  # type: ignore[attr-defined]


def test_the_page_names_everything(tmp_path: Path, page: str) -> None:
    """Every field, every flag with its value, every dataset."""
    for name in (*PASS.names, *TOKEN.names):
        assert f"`{name}`" in page
    assert ", ".join(f"{phase.value} {phase.label}" for phase in Phase) in page
    assert ", ".join(f"{kind.value} {kind.name.lower()}" for kind in TokenKind) in page
    assert [flag.value for flag in PassFlag] == [1, 2, 4, 8, 16, 32, 64]
    assert [flag.value for flag in RouteFlag] == [1, 2, 4, 8]
    assert f"format version {VERSION}" in page
    assert f"`/blocks/{LEVELS - 1}`" in page
    assert f"{ROUTE_ROWS:,} tokens" in page
    model = random_model(1)
    with CaptureWriter(tmp_path / "a.h5", store_logits=True) as writer:
        writer.describe(model)
    import h5py

    with h5py.File(tmp_path / "a.h5") as file:
        paths: list[str] = []
        file.visititems(lambda name, item: paths.append(name) if isinstance(item, h5py.Dataset) else None)
        fields = [*file["model/layers"].dtype.names, *file["model/modules"].dtype.names]
    for path in paths:
        last = path.rsplit("/", 1)[1] if "/" in path else path
        assert path.startswith("tail/") or last.isdigit() or f"`{last}`" in page or f"/{last}`" in page, path
    for name in fields:
        assert f"`{name}`" in page
