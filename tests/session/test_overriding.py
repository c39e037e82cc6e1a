"""The overrides of a session: what is told of them, what is ordered, and what is refused before it is sent."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from moedesk.core.acted import Acted
from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.core.override_file import Kept
from moedesk.session.jobs import Jobs
from moedesk.session.override_offers import expert_offers, layer_offers
from moedesk.session.overriding import Told
from moedesk.session.session import Session
from tests.support.memory_store import memory_store
from tests.support.overridden_live import OverriddenLive
from tests.support.until import until

ABLATE = Override(OverrideKind.ABLATE, (1,), (3,))


@pytest.fixture
def session() -> Iterator[Session]:
    made = Session(memory_store(layers=3, experts=8), Jobs(lambda work: work()))
    made.live = OverriddenLive(made)
    yield made
    made.close()


def live(session: Session) -> OverriddenLive:
    assert isinstance(session.live, OverriddenLive)
    return session.live


def test_what_is_told_is_read(session: Session) -> None:
    heard: list[str] = []
    session.changed.connect(heard.append)
    live(session).set(ABLATE, Override(OverrideKind.TOP_K, value=1.0), acted=7)
    assert heard == ["overrides"]
    first, second = session.overriding.entries
    assert (first.override, first.on, first.acted) == (ABLATE, True, 7)
    assert [entry.id for entry in session.overriding.at(1)] == [first.id, second.id]
    assert [entry.id for entry in session.overriding.at(0)] == [second.id]
    assert [entry.id for entry in session.overriding.at(1, 3)] == [first.id]
    assert session.overriding.at(1, 4) == ()
    assert session.overriding.at(None) == ()


def test_one_that_is_off_acts_nowhere(session: Session) -> None:
    session.overriding.add(ABLATE)
    session.overriding.switch(session.overriding.entries[0].id, False)
    assert len(session.overriding.entries) == 1
    assert session.overriding.acting == ()
    assert session.overriding.at(1, 3) == ()


def test_places_are_layers_and_the_experts_that_it_is_about(session: Session) -> None:
    live(session).set(ABLATE)
    assert session.overriding.in_view().waiting_places == {(1, None), (1, 3)}
    live(session).set(Override(OverrideKind.EXCLUDE, (), (5,)))
    everywhere = {(0, None), (1, None), (2, None), (1, 3), (0, 5), (1, 5), (2, 5)}
    assert session.overriding.in_view().waiting_places == everywhere
    assert session.overriding.in_view().places == frozenset(), "nothing ran under them"
    live(session).rows.clear()
    live(session).say()
    assert session.overriding.in_view().waiting_places == frozenset()


def test_while_a_model_runs_what_acted_is_told_apart_from_what_is_on_now(session: Session) -> None:
    scale = Override(OverrideKind.SCALE, (2,), (4,), 0.5)
    session.store.overrides = (Acted(ABLATE, ((2, 5),)), Acted(scale, ((6, 9),)))
    session.store.revision += 1
    live(session).set(replace(scale, name="named since then"))
    until(lambda: len(session.overriding.acted) == 2)
    before, under, scaled, after = (session.overriding.over(*passes) for passes in ((0, 2), (4, 6), (6, 8), (9, 10)))
    assert (before.places, before.waiting_places) == (frozenset(), {(2, None), (2, 4)})
    assert (under.places, under.waiting_places) == ({(1, None), (1, 3)}, {(2, None), (2, 4)})
    assert (scaled.places, scaled.waiting_places) == ({(2, None), (2, 4)}, frozenset())
    assert (after.places, after.waiting_places) == (before.places, before.waiting_places)
    assert under.said_of((1, 3), (1, 3)) == "overridden: ablate expert 3 in layer 1 (passes 2–4)"
    assert under.said_of((2, 4), (2, 4)).startswith("on now, not on these passes: scale expert 4 by 0.5 in layer 2")
    both = under.said_of((1, 3), (2, 4))
    assert both.startswith("overridden: ablate")
    assert " · on now, not on these passes: scale" in both
    assert under.said_of((1, 4), (2, 3)) == ""
    session.brush((4, 8))
    assert session.overriding.in_view() == session.overriding.over(4, 8)
    assert session.overriding.in_view(0, 5) == session.overriding.over(4, 5)
    assert session.overriding.recorded == (), "the Overrides panel lists what the model's process tells"


def test_an_entry_that_makes_no_sense_is_left_out_and_said() -> None:
    value = {"entries": [{"id": 1, "on": True, "acted": 0, "override": {"kind": "bake"}}, {"id": 2}], "note": "first"}
    told = Told.of(value)
    assert told.entries == ()
    assert "first" in told.note
    assert "bake" in told.note


def test_orders_say_all_that_the_models_process_needs(session: Session) -> None:
    overriding = session.overriding
    overriding.add(ABLATE)
    number = overriding.entries[0].id
    overriding.rename(overriding.entries[0], "idea")
    overriding.rename(overriding.entries[0], "idea")
    overriding.change(number, Override(OverrideKind.EXCLUDE, (2,), (5,)))
    overriding.switch(number, False)
    overriding.remove(number)
    overriding.undo()
    overriding.redo()
    overriding.clear()
    orders = [value for _, value in live(session).orders]
    assert [order["do"] for order in orders] == ["add", "change", "change", "switch", "remove", "undo", "redo", "clear"]
    assert orders[1] == {"do": "change", "id": number, "override": {**ABLATE.to_json(), "name": "idea"}}
    assert orders[3] == {"do": "switch", "id": number, "on": False}


@pytest.mark.parametrize(
    "wrong",
    [
        Override(OverrideKind.ABLATE, (9,), (3,)),
        Override(OverrideKind.ABLATE, (1,), (8,)),
        Override(OverrideKind.TOP_K, value=99.0),
    ],
)
def test_what_does_not_fit_is_never_sent(session: Session, wrong: Override) -> None:
    for send in (
        lambda: session.overriding.add(wrong),
        lambda: session.overriding.change(1, wrong),
        lambda: session.overriding.add_all([Kept(ABLATE), Kept(wrong)], "a.json"),
    ):
        with pytest.raises(MoedeskError):
            send()
    assert live(session).orders == []


def test_without_a_model_nothing_is_sent_and_why_is_said(session: Session) -> None:
    live(session).set(ABLATE)
    live(session).end("the kernel was killed")
    assert "killed" in session.overriding.why_not
    session.overriding.undo()
    live(session).ended = ""
    live(session).attach(False)
    assert "moe.attach()" in session.overriding.why_not
    assert session.overriding.entries == ()
    session.live = None
    assert "moe.attach()" in session.overriding.why_not
    with pytest.raises(MoedeskError, match="attach"):
        session.overriding.add(ABLATE)


def test_every_offer_fits_its_place(session: Session) -> None:
    model = session.store.model
    for layer in model.layers:
        for expert in (0, layer.experts - 1):
            for columns in (None, (4, 5)):
                for offer in (*expert_offers(layer, expert, columns), *layer_offers(layer, columns)):
                    offer.override.check(model)
                    assert offer.override.columns == columns
                    assert offer.title.endswith("…") == bool(offer.question)
                    if offer.question:
                        assert offer.lowest <= offer.start <= offer.highest
                        assert offer.answered(offer.start) == offer.override


def test_what_acted_is_read_by_the_worker_and_anew_with_more_passes() -> None:
    store = memory_store(passes=9, layers=3, experts=8)
    with closing(Session(store, Jobs(lambda work: work()))) as session:
        heard: list[str] = []
        session.changed.connect(heard.append)
        assert session.overriding.recorded == ()
        until(lambda: session.idle)
        assert heard == [], "nothing acted"
        store.overrides = (Acted(ABLATE, ((2, 5),)),)
        assert session.overriding.recorded == (), "the store says that nothing is new"
        store.revision += 1
        until(lambda: bool(session.overriding.recorded) and heard == ["overrides"])
        (entry,) = session.overriding.recorded
        assert (entry.override, entry.passes) == (ABLATE, ((2, 5),))
        assert session.overriding.in_view().places == {(1, None), (1, 3)}
        assert session.overriding.in_view().waiting == ()
        session.seek(1)
        assert session.overriding.in_view().places == frozenset()
