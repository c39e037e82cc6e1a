"""A comparison of a text before and after overrides passes over breakpoints, and says so."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from moedesk.core.override import Override, OverrideKind
from moedesk.probe.overriding.before_after import before_after
from moedesk.probe.overriding.overrides import Overrides
from moedesk.probe.overriding.registry import overrides_of
from tests.support.stopping import PlayedApp, attached_to, batch_of, hooks_on

pytestmark = pytest.mark.usefixtures("no_hook_stays")
TEXT = "def add(a, b):"


@pytest.fixture
def overrides(sample: Any) -> Iterator[Overrides]:
    found = overrides_of(sample[0])
    found.add(Override(OverrideKind.EXCLUDE, layers=(3,), experts=(1,)))
    yield found
    found.close()


@pytest.mark.parametrize("record", [False, True])
def test_none_stops_prints_or_counts_and_the_result_says_so(
    record: bool, sample: Any, overrides: Overrides, capsys: Any
) -> None:
    model, tokenizer = sample
    app, inputs = PlayedApp(), batch_of(tokenizer, [TEXT])
    with torch.no_grad(), attached_to(app, model, tokenizer):
        model(**inputs)
        plain = before_after(overrides, tokenizer, TEXT, 2, record=record)
        assert not plain.notes
        points = [app.break_on("layer:3"), app.break_on("layer:2", log="{layer}"), app.break_on("layer:1")]
        points[2].on = False
        hooks = hooks_on(model)
        found = before_after(overrides, tokenizer, TEXT, 2, record=record)
        assert not app.stops
        assert [point.hits for point in points] == [0, 0, 0]
        assert "2\n" not in capsys.readouterr().out
        assert found.notes == ("2 breakpoints are passed over: none stops, prints or counts a hit in a comparison",)
        np.testing.assert_array_equal(found.after, plain.after)
        assert hooks_on(model) == hooks, "they are as they were"
        model(**inputs)
        assert [stop["layer"] for stop in app.stops] == [3]
        app.breakpoints.active = False
        assert not before_after(overrides, tokenizer, TEXT, 2, record=record).notes


def test_a_step_goes_on_behind_it_and_one_that_fails_leaves_breakpoints_as_they_were(
    sample: Any, overrides: Overrides
) -> None:
    model, tokenizer = sample
    app, inputs = PlayedApp(), batch_of(tokenizer, [TEXT])
    with torch.no_grad(), attached_to(app, model, tokenizer):
        model(**inputs)
        last = len(app.breakpoints._attachment.bindings) - 1  # type: ignore[union-attr]
        app.orders = ["step_layer"]
        app.break_on(f"layer:{last} position:2")
        cache = model(**inputs, use_cache=True).past_key_values  # the step ends in the next pass of this sequence
        with pytest.raises(TypeError):
            before_after(overrides, tokenizer, TEXT, 2, num_beams="x")
        assert len(app.stops) == 1
        model(inputs["input_ids"][:, -1:], past_key_values=cache)
    assert [stop["layer"] for stop in app.stops] == [last, 0]
