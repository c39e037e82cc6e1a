import pytest

from moedesk.core.selection import Kind, Selection
from moedesk.session.goto import LIMIT, destinations
from tests.support.memory_store import memory_store


@pytest.mark.parametrize(
    ("typed", "selection"),
    [
        ("1.5", Selection(Kind.EXPERT, layer=1, expert=5)),
        (" 2:0 ", Selection(Kind.EXPERT, layer=2, expert=0)),
        ("expert 0.7", Selection(Kind.EXPERT, layer=0, expert=7)),
        ("pass 12", Selection(Kind.PASS, pass_id=12)),
        ("Layer 2", Selection(Kind.LAYER, layer=2)),
        ("token 3", Selection(Kind.TOKEN, token=3)),
    ],
)
def test_numbers_name_places(typed: str, selection: Selection) -> None:
    assert destinations(typed, memory_store())[0].selection == selection


@pytest.mark.parametrize("typed", ["1.8", "3.0", "pass 20", "layer 3", "token 100000"])
def test_places_beyond_the_end_are_not_offered(typed: str) -> None:
    kinds = {place.selection.kind for place in destinations(typed, memory_store())}
    assert kinds <= {Kind.MODULE}


def test_modules_by_part_of_their_path() -> None:
    store = memory_store()
    path = store.model.layers[1].path
    assert destinations(path, store)[0].selection == Selection(Kind.MODULE, module=path)
    assert len(destinations("m", store)) <= LIMIT


def test_nothing_typed_offers_the_layers() -> None:
    assert [place.selection.layer for place in destinations("", memory_store())] == [0, 1, 2]
