"""Someone who follows docs/adapters.md gets what it says."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import moedesk
from moedesk.probe.adapters import registry
from moedesk.probe.adapters.adapter import Adapter
from moedesk.probe.adapters.registry import declared, forget, plugged_in

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "adapters.md"


@pytest.fixture
def snippets() -> Iterator[list[str]]:
    yield re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for adapter in declared():
        forget(adapter)


def test_the_worked_example(snippets: list[str], tmp_path: Path) -> None:
    declarations, model, recording, packaged = snippets
    names: dict[str, Any] = {}
    exec(declarations, names)
    assert len(declared()) == 2  # the last one takes the place of the first
    exec(model, names)
    exec(recording.replace("run.h5", str(tmp_path / "run.h5")), names)
    exec(packaged, names)
    capture, layers = names["capture"], names["model"].layers
    assert [layer.path for layer in capture.model.layers] == ["layers.0", "layers.1", "layers.2"]
    assert {layer.adapter for layer in capture.model.layers} == {"CosineMoE"}
    assert {layer.score for layer in capture.model.layers} == {"softmax"}
    assert capture.experts(0).shape == (24, 2)
    for place, block in enumerate(layers):
        np.testing.assert_array_equal(capture.experts(place), block.routing[0].numpy())
        np.testing.assert_array_equal(capture.weights(place), block.routing[1].detach().numpy())
        assert capture.counts(place).sum() == 24 * 2
    capture.close()
    assert isinstance(names["ADAPTER"], Adapter)
    assert names["ADAPTER"].matches("layers.0", layers[0])


class Entry:
    """An entry point as importlib gives it."""

    def __init__(self, name: str, loaded: Any) -> None:
        self.name, self.value, self.loaded = name, f"{name}:ADAPTER", loaded

    def load(self) -> Any:
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


def test_plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """One gives an adapter, one a list, two can't be used; a declaration of the user's comes first."""

    class Block(nn.Module):
        pass

    def adapter(name: str) -> Adapter:
        return Adapter(name, ("Block",), read=lambda *call: None)

    entries = [
        Entry("broken", ImportError("no module named x")), Entry("odd", [3]),
        Entry("one", adapter("one")), Entry("two", [adapter("two")]),
    ]  # fmt: skip
    monkeypatch.setattr(registry, "entry_points", lambda group: entries if group == "moedesk.adapters" else [])
    plugged_in.cache_clear()
    try:
        with pytest.warns(moedesk.core.errors.CaptureWarning) as warned:  # type: ignore[attr-defined]
            assert [found.name for found in plugged_in()] == ["one", "two"]
        assert "'broken' (broken:ADAPTER) is left out: ImportError" in str(warned[0].message)
        assert "'odd'" in str(warned[1].message)
        modules = dict(nn.ModuleDict({"a": Block()}).named_modules())
        assert registry.claim(modules)["a"].name == "one"
        mine = moedesk.adapter("Block", read=lambda *call: None, name="mine")
        try:
            assert registry.claim(modules)["a"] is mine
        finally:
            forget(mine)
    finally:
        plugged_in.cache_clear()
