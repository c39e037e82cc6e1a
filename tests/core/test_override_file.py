"""Lists of overrides in files: what is written is read again, and what isn't one is refused in one line."""

import json
from pathlib import Path

import pytest

from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.core.override_file import MOST, Kept, as_text, from_text, load, save

KEPT = (
    Kept(Override(OverrideKind.ABLATE, (3,), (7,), name="“first” idea")),
    Kept(Override(OverrideKind.BIAS, (), (1, 2), 0.1, (0, 16), ("decode",)), on=False),
    Kept(Override(OverrideKind.REPLAY, capture="/data/a b.h5", weights=True)),
)


def test_a_list_comes_back_with_order_and_switches(tmp_path: Path) -> None:
    path = tmp_path / "overrides.json"
    save(path, KEPT, "org/model")
    assert load(path) == KEPT
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["model"] == "org/model"
    assert [entry["on"] for entry in told["overrides"]] == [True, False, True]
    assert path.read_text(encoding="utf-8").count("\n") == 9, "an override a line, for a person or a diff"


def test_an_empty_list_is_one() -> None:
    assert from_text(as_text(())) == ()


def test_an_override_without_a_switch_is_on() -> None:
    text = '{"moedesk_overrides": 1, "overrides": [{"kind": "ablate", "experts": [3]}]}'
    assert from_text(text) == (Kept(Override(OverrideKind.ABLATE, experts=(3,))),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "moedesk_overrides"),
        ('{"overrides": []}', "moedesk_overrides"),
        ('{"moedesk_overrides": 2, "overrides": []}', "update moedesk"),
        ('{"moedesk_overrides": 1}', "list"),
        ('{"moedesk_overrides": 1, "overrides": {}}', "list"),
        ('{"moedesk_overrides": 1, "overrides": [3]}', "override 1 "),
        ('{"moedesk_overrides": 1, "overrides": [{"kind": "ablate", "on": 1}]}', '"on"'),
        ('{"moedesk_overrides": 1, "overrides": [{"kind": "ablate"}, {"kind": "bake"}]}', "override 2: .*bake"),
        ('{"moedesk_overrides": 1, "overrides": [{"kind": "ablate", "layer": 3}]}', "layer"),
    ],
)
def test_what_is_no_list_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MoedeskError, match=said) as caught:
        load(path)
    assert "other.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(MoedeskError, match=r"none\.json can't be read"):
        load(tmp_path / "none.json")
    with pytest.raises(MoedeskError, match="can't be written"):
        save(tmp_path / "no folder" / "a.json", KEPT)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MoedeskError, match="not text"):
        load(tmp_path / "binary.json")


def test_a_list_that_is_far_too_long_is_refused() -> None:
    with pytest.raises(MoedeskError, match="at most 10,000"):
        from_text(as_text(KEPT * (MOST // len(KEPT) + 1)))
