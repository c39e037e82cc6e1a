"""Tokens of encoder-decoder models as the app names them: the same numbers as with both sides given by hand, and the model's."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import moedesk
from moedesk.capture.reader import Capture
from moedesk.core.errors import MoedeskError
from moedesk.core.selection import Kind, Selection
from moedesk.core.store import Store
from moedesk.probe.console.loaded import Loaded
from moedesk.probe.console.moe import Moe
from moedesk.probe.console.selected_token import SelectedToken
from moedesk.probe.explaining.asked import asked_passage
from moedesk.probe.explaining.passage import Passage, passage_of_ids
from moedesk.probe.explaining.why import why
from moedesk.session.asked_token import asked_token
from moedesk.session.selected import selected_data
from tests.support.console import own_moe
from tests.support.families import build

SOURCE = torch.tensor([[11, 57, 23, 80, 5, 42, 9, 71], [30, 31, 62, 17, 88, 0, 0, 0]])
MASK = (SOURCE != 0).long()
FAMILIES = ("switch_transformers", "nllb_moe")


class Recorded(NamedTuple):
    """A model that translated two texts, the second one padded, and what was recorded of that."""

    moe: Moe
    store: Capture
    written: torch.Tensor

    def row(self, stream: str, sequence: int, column: int) -> int:
        tokens = self.store.read_tokens(stream=stream)
        (found,) = np.flatnonzero((tokens["sequence"] == sequence) & (tokens["column"] == column))
        return int(found)


@pytest.fixture(scope="module", params=FAMILIES)
def recorded(request: Any, family: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    model = family(request.param)
    path = tmp_path_factory.mktemp("sides") / "run.h5"
    with moedesk.record(model, path), torch.no_grad():
        written = model.generate(SOURCE, attention_mask=MASK, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    with moedesk.open(path) as store, own_moe() as moe:
        moe._loaded = Loaded(model, None)
        yield Recorded(moe, store, written)


def clicked(store: Store, row: int, stream: str) -> SelectedToken:
    """``$0``, as the app sends it."""
    fields, arrays = selected_data(store, [Selection(Kind.TOKEN, token=row, stream=stream)])
    own = {name.removeprefix("0."): array for name, array in arrays.items()}
    return SelectedToken(None, fields["history"][0], own)  # type: ignore[arg-type]


def asked(store: Store, row: int, stream: str) -> dict[str, Any]:
    """The ``passage`` of a task, after its way through the link."""
    return json.loads(json.dumps(asked_token(store, row, stream)))  # type: ignore[no-any-return]


def first_place(store: Store, stream: str) -> int:
    return next(layer.place for layer in store.model.layers if layer.stream == stream)


def unpadded(sequence: int) -> list[int]:
    return SOURCE[sequence][MASK[sequence] == 1].tolist()


@pytest.mark.parametrize("sequence", [0, 1])
def test_a_token_that_the_encoder_read(recorded: Recorded, sequence: int) -> None:
    moe, store, _ = recorded
    row, place = recorded.row("encoder", sequence, 2), first_place(store, "encoder") + 1
    by_hand = moe.why(unpadded(sequence), place, 2)
    found = moe.why(clicked(store, row, "encoder"), place)
    asked_for = moe.do_why({"passage": asked(store, row, "encoder"), "layer": place}, lambda *_: None)
    np.testing.assert_array_equal(found.logits, by_hand.logits)
    np.testing.assert_array_equal(found.contributions, by_hand.contributions)
    np.testing.assert_array_equal(asked_for[1]["logits"], by_hand.logits)
    assert set(found.chosen.tolist()) == set(store.experts(place, row, row + 1)[0].tolist())
    assert found.complete
    assert (found.token.row, found.token.stream) == (row, "encoder")


@pytest.mark.parametrize("sequence", [0, 1])
def test_a_token_that_the_decoder_wrote(recorded: Recorded, sequence: int) -> None:
    moe, store, written = recorded
    row, place = recorded.row("decoder", sequence, 2), first_place(store, "decoder") + 1
    by_hand = {"decoder": written[sequence].tolist(), "index": 2}
    found, same = moe.why(clicked(store, row, "decoder"), place), moe.why(unpadded(sequence), place, **by_hand)
    np.testing.assert_array_equal(found.logits, same.logits)
    np.testing.assert_array_equal(found.contributions, same.contributions)
    (_, arrays) = moe.do_why({"passage": asked(store, row, "decoder"), "layer": place}, lambda *_: None)
    np.testing.assert_array_equal(arrays["logits"], same.logits)
    effects = moe.attribute(clicked(store, row, "decoder"), method=("direct", "norm"))
    by_hand["method"] = ("direct", "norm")
    same_effects = moe.attribute(unpadded(sequence), **by_hand)
    np.testing.assert_array_equal(effects.direct, same_effects.direct)
    assert effects.target_id == same_effects.target_id == written[sequence, 3]
    (_, arrays) = moe.do_attribute({"passage": asked(store, row, "decoder"), "method": ["direct"]}, lambda *_: None)
    np.testing.assert_array_equal(arrays["direct"], effects.direct)


@pytest.mark.parametrize("sequence", [0, 1])
def test_what_is_explained_is_what_the_model_calculates(recorded: Recorded, sequence: int) -> None:
    """Logits of the router, and of the next token, in one forward of both sides as they were given."""
    moe, store, written = recorded
    model: Any = moe.model
    seen: list[torch.Tensor] = []
    place = first_place(store, "decoder") + 1
    router = model.get_submodule(store.model.layers[place].router_path)
    handle = router.register_forward_hook(lambda module, given, output: seen.append(given[0]))
    with torch.no_grad():
        output = model(
            input_ids=SOURCE[sequence : sequence + 1],
            attention_mask=MASK[sequence : sequence + 1],
            decoder_input_ids=written[sequence : sequence + 1, :3],
        )
    handle.remove()
    weight = getattr(router, "classifier", router).weight.detach()
    token = clicked(store, recorded.row("decoder", sequence, 2), "decoder")
    own = seen[0].reshape(-1, weight.shape[1])[2] @ weight.T
    np.testing.assert_allclose(moe.why(token, place).logits, own, atol=1e-5)
    effects = moe.attribute(token, method="norm")
    assert effects.logit == pytest.approx(float(output.logits[0, 2, written[sequence, 3]]), abs=1e-5)


@pytest.mark.parametrize("recorded", ["switch_transformers"], indirect=True)
def test_other_routes_of_a_token_that_was_clicked(recorded: Recorded) -> None:
    moe, store, written = recorded
    place = first_place(store, "decoder")
    options = {"layers": place, "runners": 2, "tries": 0}
    found = moe.counterfactual(clicked(store, recorded.row("decoder", 1, 1), "decoder"), **options)
    same = moe.counterfactual(unpadded(1), 1, decoder=written[1].tolist(), **options)
    np.testing.assert_array_equal(found.losses, same.losses)


def test_effects_of_a_token_of_the_encoder_are_refused(recorded: Recorded) -> None:
    moe, store, _ = recorded
    token = clicked(store, recorded.row("encoder", 0, 2), "encoder")
    for explain in (moe.attribute, moe.counterfactual):
        with pytest.raises(MoedeskError, match="a token of the encoder has no next token; select one of the decoder"):
            explain(token)


@contextmanager
def ran(model: Any, **options: Any) -> Iterator[tuple[Moe, torch.Tensor]]:
    with own_moe() as moe, torch.no_grad():
        moe.attach(model)
        written = model.generate(SOURCE, attention_mask=MASK, max_new_tokens=4, min_new_tokens=4, **options)
        yield moe, written


def check(found: Passage, source: list[int] | None, after: list[int] | None) -> None:
    assert (None if found.source is None else found.source.tolist()) == source
    assert (None if found.after is None else found.after.tolist()) == after


def test_tokens_that_ran_are_named_by_sequence_and_column(family: Any) -> None:
    with ran(family("switch_transformers"), do_sample=False) as (moe, written):
        check(moe._passage((1, 2), -1, None, 1), None, unpadded(1)[3:])
        check(moe._passage((1, 2), -1), unpadded(1), None)
        of_encoder, of_decoder = moe.why((1, 2), 1), moe.why((1, 2), 5)
        np.testing.assert_array_equal(of_encoder.logits, moe.why(unpadded(1), 1, 2).logits)
        by_hand = moe.why(unpadded(1), 5, 2, decoder=written[1].tolist())
        np.testing.assert_array_equal(of_decoder.logits, by_hand.logits)
        assert moe.attribute((1, 2), method="norm").target_id == written[1, 3]


@pytest.mark.parametrize(
    "options", [{"num_beams": 2, "do_sample": False}, {"num_return_sequences": 2, "do_sample": True}]
)
def test_copies_of_what_the_encoder_wrote_are_refused_by_name(
    family: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = family("switch_transformers")
    with ran(model, **options) as (moe, _), moedesk.record(model, tmp_path / "run.h5"):
        model.generate(SOURCE, attention_mask=MASK, max_new_tokens=2, min_new_tokens=2, **options)
        first = 2  # two sequences of the encoder come before
        with pytest.raises(MoedeskError, match="what the encoder read for it was not recorded, or can't be told"):
            moe.attribute((first, 1))
    with moedesk.open(tmp_path / "run.h5") as store, own_moe() as moe:
        moe._loaded = Loaded(model, None)
        passage: Callable[..., Passage] = lambda row: asked_passage(asked(store, row, "decoder"))  # noqa: E731
        check(passage(0), None, None)
        with pytest.raises(MoedeskError, match="beams and several answers"):
            moe.why(clicked(store, 0, "decoder"), 5)


def test_layers_have_the_places_that_the_app_knows(family: Any, tmp_path: Path) -> None:
    """Of a decoder that ran alone first, and of a model of which one layer is attached."""
    model = family("switch_transformers")
    with torch.no_grad(), own_moe() as moe:
        states = model.encoder(SOURCE[:1])
        moe.attach(model)
        model(encoder_outputs=states, decoder_input_ids=torch.tensor([[0, 33, 18]]))
        model(input_ids=SOURCE[:1], decoder_input_ids=torch.tensor([[0, 33, 18]]))
        moe._passage((1, 1), -1)  # both are there
        assert moe.attachment is not None
        paths = [layer.path for layer in moe.attachment.model.layers]
        assert paths[0].startswith("decoder.")
        for place in (1, 5):
            found = moe.why((1, 1), place)
            assert (found.layer, found.path) == (place, paths[place])
        effects = moe.attribute((1, 1), method="norm")
        assert effects.layers.tolist() == [0, 1, 2, 3]
    olmoe, ids = build("olmoe"), SOURCE[0].tolist()
    with torch.no_grad(), own_moe() as moe:
        by_hand = why(olmoe, passage_of_ids(ids, 4), 1)
        moe.attach(olmoe, layers=[1])
        olmoe(SOURCE[:1])
        found = moe.why((0, 4), 0)
        assert (found.layer, found.path) == (0, by_hand.path)
        np.testing.assert_array_equal(found.logits, by_hand.logits)
        np.testing.assert_array_equal(found.chosen, by_hand.chosen)
        effects = moe.attribute((0, 4), layer=[0, 1], method="norm")
        assert effects.experts[0].tolist() == by_hand.chosen.tolist()
        routes = moe.counterfactual((0, 4), runners=1, tries=0)
        assert routes.tried_layers.tolist() == [0, 1], "the layer that isn't attached comes after"
        assert set(routes.experts[0].tolist()) == set(by_hand.chosen.tolist())
