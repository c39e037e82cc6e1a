"""What runs compiled in a model is found, and what is not there is not searched for again."""

import gc
from typing import Any

import pytest
import torch
from torch import nn

from moedesk.probe.taking import compiled
from moedesk.probe.taking.compiled import compiled_parts


def backend(graph: Any, given: Any) -> Any:
    return graph.forward


def test_wrappers_are_found_whenever_they_were_made() -> None:
    model, other = nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2)
    assert compiled_parts(model) == []
    wrapper = torch.compile(model, backend=backend)
    assert [(part.path, part.wrapper) for part in compiled_parts(model)] == [("", wrapper)]
    inner = torch.compile(model[0], backend=backend)
    del wrapper
    gc.collect()
    assert compiled_parts(model) == []
    assert [part.wrapper for part in compiled_parts(inner._orig_mod)] == [inner]
    assert compiled_parts(other) == []


def test_objects_are_not_searched_again_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search takes a good part of a second in a large process, and every attachment asks."""
    searches = []
    search = gc.get_referrers

    def counted(*objects: object) -> list[Any]:
        searches.append(objects)
        return search(*objects)

    monkeypatch.setattr(compiled.gc, "get_referrers", counted)
    model = nn.Linear(2, 2)
    wrapper = torch.compile(model, backend=backend)
    for _ in range(20):
        assert [part.wrapper for part in compiled_parts(model)] == [wrapper]
    assert len(searches) == 1
