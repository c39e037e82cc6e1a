"""What apps order of overrides, what they are told, and a text before and after."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import moedesk
from moedesk.core.before_after import WITH, WITHOUT
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.attach import attach
from moedesk.probe.console.override_link import OverrideLink
from moedesk.probe.overriding.before_after import before_after
from moedesk.probe.overriding.overrides import Overrides
from moedesk.probe.overriding.registry import overrides_of
from tests.support.console import Letters
from tests.support.families import build, some_ids
from tests.support.gathered import Gathered
from tests.support.until import until

LABELS = ("mine", WITHOUT, WITH)
ABLATE = {"kind": "ablate", "layers": [0], "experts": [3]}


@pytest.fixture(scope="module")
def olmoe() -> Any:
    return build("olmoe")


@pytest.fixture
def overrides(olmoe: Any) -> Iterator[Overrides]:
    found = overrides_of(olmoe)
    yield found
    found.close()


class Stream(Gathered):
    """What takes a model's routing, as a stream of the link."""

    number = 7


@pytest.fixture
def kept(olmoe: Any) -> Iterator[list[dict[str, Any]]]:
    """What is told of a model that is attached; filled by ``server_of``."""
    attachment = attach(olmoe, sink=Stream())
    yield []
    attachment.detach()


def server_of(kept: list[dict[str, Any]]) -> Any:
    """A server that keeps what is told."""

    def tell(topic: str, value: dict[str, Any], stream: int) -> None:
        assert (topic, stream) == ("overrides", Stream.number)
        kept.append(value)

    return SimpleNamespace(tell=tell)


@pytest.fixture
def told(overrides: Overrides, kept: list[dict[str, Any]]) -> Iterator[Any]:
    server = server_of(kept)
    link = OverrideLink(lambda stream: overrides, lambda: server)
    yield SimpleNamespace(link=link, kept=kept)
    link.close()


def test_orders_are_done_and_told(told: Any, overrides: Overrides, olmoe: Any) -> None:
    told.link.order({"do": "add", "override": ABLATE})
    (entry,) = told.kept[-1]["entries"]
    assert entry == {"id": entry["id"], "on": True, "acted": 0, "override": ABLATE}
    assert told.kept[-1]["undo"] == "add: ablate expert 3 in layer 0"
    told.link.order({"do": "change", "id": entry["id"], "override": {**ABLATE, "experts": [5]}})
    assert told.kept[-1]["entries"][0]["override"]["experts"] == [5]
    with torch.no_grad():
        olmoe(some_ids())
    until(lambda: told.kept[-1]["entries"][0]["acted"] > 0)
    told.link.order({"do": "switch", "id": entry["id"], "on": False})
    assert not told.kept[-1]["entries"][0]["on"]
    for do, left in (("remove", 0), ("undo", 1), ("redo", 0), ("undo", 1), ("clear", 0)):
        told.link.order({"do": do, "id": entry["id"]})
        assert len(told.kept[-1]["entries"]) == left, do


def test_what_is_told_of_one_override_is_not_taken_for_the_next(told: Any, overrides: Overrides, olmoe: Any) -> None:
    for _ in range(2):  # both change as many rows
        told.link.order({"do": "add", "override": {"kind": "temperature", "layers": [0], "value": 3.0}})
        with torch.no_grad():
            olmoe(some_ids())
        (entry,) = overrides.entries
        until(lambda entry=entry: told.kept[-1]["entries"][0]["acted"] == overrides.acted(entry) > 0)
        told.link.order({"do": "clear"})


def test_a_list_is_added_in_one_step_or_not_at_all(told: Any, overrides: Overrides) -> None:
    other = {"kind": "exclude", "experts": [5], "on": False}
    told.link.order({"do": "load", "name": "mine.json", "overrides": [ABLATE, other]})
    assert [entry["on"] for entry in told.kept[-1]["entries"]] == [True, False]
    assert told.kept[-1]["undo"] == "load mine.json"
    told.link.order({"do": "undo"})
    assert not told.kept[-1]["entries"]
    told.link.order({"do": "load", "name": "mine.json", "overrides": [ABLATE, {**other, "experts": [99]}]})
    assert not told.kept[-1]["entries"]
    assert "mine.json: override 2: no expert 99" in told.kept[-1]["note"]
    told.link.order({"do": "load", "overrides": [{"kind": "bake"}]})
    assert "no kind of override 'bake'" in told.kept[-1]["note"]
    overrides.close()


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"do": "add", "override": {**ABLATE, "layers": [7]}}, "no MoE layer 7"),
        ({"do": "add", "override": {"kind": "delete"}}, "no kind of override 'delete'"),
        ({"do": "add"}, "says no override to add"),
        ({"do": "remove", "id": 99}, "no override 99"),
        ({"do": "remove"}, "names no override to remove"),
        ({"do": "undo"}, "nothing to undo"),
        ({"do": "dance"}, "knows no order 'dance'"),
    ],
)
def test_a_mistake_is_told_in_one_line(told: Any, order: dict[str, Any], words: str) -> None:
    told.link.order(order)
    assert words in told.kept[-1]["note"]
    assert "\n" not in told.kept[-1]["note"]
    assert not told.kept[-1]["entries"]
    told.link.order({"do": "clear"})


def test_what_has_to_be_found_out_first_waits_for_the_main_thread(
    overrides: Overrides, kept: list[dict[str, Any]]
) -> None:
    asked: list[Any] = []
    fresh = Overrides(overrides.module, type(overrides.layers)(overrides.module))
    server = server_of(kept)
    link = OverrideLink(lambda stream: fresh, lambda: server)
    link.turns = SimpleNamespace(ask=asked.append)  # type: ignore[assignment]
    link.order({"do": "add", "override": {"kind": "temperature", "value": 2.0}})
    assert not kept[-1]["entries"]
    assert "waits for the cell" in kept[-1]["note"]
    asked[0]()
    assert len(kept[-1]["entries"]) == 1
    assert not kept[-1]["note"]
    link.close()


def test_a_list_is_told_to_the_session_of_a_model_that_is_attached_later(overrides: Overrides, olmoe: Any) -> None:
    kept: list[dict[str, Any]] = []
    server = server_of(kept)
    link = OverrideLink(lambda stream: overrides, lambda: server)
    link.follow(overrides)
    overrides.add(Override(OverrideKind.EXCLUDE, (), (3,)))
    other = build("olmoe")
    elsewhere = attach(other, sink=Stream())
    assert not kept, "there is no session of its model to tell"
    attachment = attach(olmoe, sink=Stream())
    try:
        assert [[entry["override"]["kind"] for entry in told["entries"]] for told in kept] == [["exclude"]]
    finally:
        attachment.detach()
        elsewhere.detach()
        link.close()


def test_before_and_after_are_what_the_model_gives(overrides: Overrides, olmoe: Any) -> None:
    """Scores, texts and counts by the model itself, once as it is and once with the same override."""
    tokenizer = Letters()
    overrides.add(Override(OverrideKind.EXCLUDE, (), (3,)))
    found = before_after(overrides, tokenizer, "abcdefgh", 5)
    prompt = torch.tensor([tokenizer("abcdefgh").input_ids])

    def own() -> tuple[Any, Any]:
        with torch.no_grad():
            text = olmoe.generate(prompt, max_new_tokens=5, do_sample=False)
            shares = olmoe(torch.tensor(found.ids[None])).logits.log_softmax(-1)[0]
        return text[0], [float(shares[n, token]) for n, token in enumerate(found.ids[1:])]

    with_text, after = own()
    np.testing.assert_array_equal(found.written_ids, with_text[8:])
    np.testing.assert_allclose(found.after[1:], after, rtol=1e-5)
    assert [int(counts[3]) for counts in found.counts_after] == [0, 0]
    with overrides.suspended():
        text, before = own()
    np.testing.assert_array_equal(found.ids, text)
    np.testing.assert_allclose(found.before[1:], before, rtol=1e-5)
    assert any(counts[3] > 0 for counts in found.counts_before)
    assert found.overrides == ("exclude expert 3 in all layers",)
    assert [entry.on for entry in overrides.entries] == [True]


def test_a_comparison_is_in_no_total_unless_it_is_recorded(overrides: Overrides, olmoe: Any, tmp_path: Any) -> None:
    entry = overrides.add(Override(OverrideKind.EXCLUDE, (), (3,)))
    with moedesk.record(olmoe, tmp_path / "run.h5") as recording, recording.label("mine"):
        olmoe(some_ids())
        acted = overrides.acted(entry)
        plain = before_after(overrides, Letters(), "abcdefgh", 5)
        assert overrides.acted(entry) == acted > 0
        olmoe(some_ids())
        again = before_after(overrides, Letters(), "abcdefgh", 5, record=True)
        assert overrides.acted(entry) > 2 * acted
        olmoe(some_ids())
    np.testing.assert_array_equal(plain.after, again.after)
    with moedesk.open(tmp_path / "run.h5") as capture:
        by_label = {label: [(one.first, one.last) for one in capture.labels if one.name == label] for label in LABELS}
        (acting,) = capture.overrides
    without = (2, 2 + len(again.ids) - again.prompt + 1)  # a pass for each token written, and the text scored
    under = (without[1], without[1] + len(again.written_ids) + 1)
    assert by_label == {"mine": [(0, 2), (under[1], under[1] + 1)], WITHOUT: [without], WITH: [under]}
    assert acting.passes == ((0, 2), (under[0], under[1] + 1))


def test_a_comparison_that_fails_leaves_recording_and_label_as_they_were(
    overrides: Overrides, olmoe: Any, tmp_path: Any
) -> None:
    overrides.add(Override(OverrideKind.EXCLUDE, (), (3,)))
    with moedesk.record(olmoe, tmp_path / "run.h5") as recording, recording.label("mine"):
        for record in (True, False):
            with pytest.raises(TypeError):
                before_after(overrides, Letters(), "abcdefgh", 5, record=record, num_beams="x")
        olmoe(some_ids())
    with moedesk.open(tmp_path / "run.h5") as capture:
        assert capture.n_passes == 1
        assert [label.name for label in capture.labels] == ["mine"]
