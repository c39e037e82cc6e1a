"""The filter language as text: what parses to what, what doesn't and where, what is offered, and editing by term."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moedesk.core.errors import FilterError
from moedesk.core.filter import (
    NO_FILTER,
    Filter,
    Interval,
    Numbers,
    Pattern,
    Term,
    Words,
    add_term,
    complete,
    parse,
    remove_term,
)
from moedesk.core.model import LayerInfo, ModelInfo
from tests.support.filters import terms

MODEL = ModelInfo(
    "m",
    "M",
    tuple(LayerInfo(f"model.layers.{place}.mlp", "Block", 16 if place else 8, 2, place=place) for place in range(6)),
)


def only(text: str) -> Term:
    (term,) = parse(text).terms
    return term


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("layer:12", Term("layer", Numbers((Interval(12, 12),)))),
        ("-layer:3..7", Term("layer", Numbers((Interval(3, 7),)), True)),
        ("LAYER:3", Term("layer", Numbers((Interval(3, 3),)))),
        ("layer:model.layers.3.mlp", Term("layer", Words(("model.layers.3.mlp",)))),
        ("expert:1,5..7", Term("expert", Numbers((Interval(1, 1), Interval(5, 7))))),
        ("pass:10..", Term("pass", Numbers((Interval(10, None),)))),
        ("position<10", Term("position", Numbers((Interval(None, 10, high_open=True),)))),
        ("position<=10", Term("position", Numbers((Interval(None, 10),)))),
        ("entropy>1.5", Term("entropy", Numbers((Interval(1.5, None, low_open=True),)))),
        ("weight>=.3", Term("weight", Numbers((Interval(0.3, None),)))),
        ("margin:1e-3..0.01", Term("margin", Numbers((Interval(0.001, 0.01),)))),
        ("id=123", Term("id", Numbers((Interval(123, 123),)))),
        ("phase:decode,Prefill", Term("phase", Words(("decode", "prefill")))),
        ("is:dropped", Term("is", Words(("dropped",)))),
        ("label:python", Term("label", Words(("python",)))),
        ("-label:c,html", Term("label", Words(("c", "html")), True)),
        ('label:"two words, one name"', Term("label", Words(("two words, one name",)))),
        ("token:def", Term("token", Pattern("def", "stripped"))),
        ('token:"def"', Term("token", Pattern("def", "stripped"))),
        ('token:" def"', Term("token", Pattern(" def", "exact"))),
        (r'token:"a\"\\\n"', Term("token", Pattern('a"\\\n', "exact"))),
        ('token:a"b:c', Term("token", Pattern('a"b:c', "stripped"))),
        (r"token:/^a \/+$/", Term("token", Pattern("^a /+$", "regex"))),
        ("word", Term("token", Pattern("word", "contains"))),
        ('-"two words"', Term("token", Pattern("two words", "contains"), True)),
        ('"layer:3"', Term("token", Pattern("layer:3", "contains"))),
        ("==", Term("token", Pattern("==", "contains"))),
        ("->", Term("token", Pattern(">", "contains"), True)),
    ],
)
def test_terms(text: str, term: Term) -> None:
    assert only(text) == term
    assert only(f"  {text}\t").start == 2
    assert only(f"  {text}\t").end == 2 + len(text)


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_the_empty_filter(text: str) -> None:
    assert not parse(text)
    assert parse(text).terms == NO_FILTER.terms


@pytest.mark.parametrize(
    ("text", "bad", "says"),
    [
        ("layer:3 exprt:3", "exprt", "did you mean expert?"),
        ("foo:3", "foo", "layer, expert, token"),
        ("http://x", "http", "quotes"),
        ("expert:x", "x", "not a whole number"),
        ("expert:1.5", "1.5", "not a whole number"),
        ("layer:3x", "3x", "not a whole number"),
        ("pass>1e3", "1e3", "not a whole number"),
        ("pass:" + "9" * 25, "9" * 25, "not a whole number"),
        ("entropy>a", "a", "not a number"),
        ("entropy>1e999", "1e999", "not a number"),
        ("entropy>nan", "nan", "not a number"),
        ("expert:7..3", "7..3", "write 3..7"),
        ("expert:..", "..", "no ends"),
        ("expert:1,,2", ",,", "comma"),
        ("expert:1,", ",", "comma"),
        ("expert:", "expert:", "needs a value"),
        ("weight>", "weight>", "needs a value"),
        ("phase:prefil", "prefil", "prefill, decode, train, eval"),
        ("phase>3", ">", "name"),
        ("is:dropped,dead", "dead", "dropped, overridden, padding"),
        ("layer:model.layers.3,4", "4", "no module path"),
        ('a token:"abc', '"abc', "no closing quote"),
        ('"abc', '"abc', "no closing quote"),
        ('"a"b', "b", "blank"),
        (r'"a\d"', r"\d", "escape"),
        ('""', '""', "empty"),
        ("token:", "token:", "needs a text"),
        ("token>3", "token>", "text"),
        ("token:/(/", "/(/", "regular expression"),
        ("token:/a", "/a", "no closing /"),
        ("token://", "//", "empty"),
        ("token:/a/i", "i", "blank"),
        ("a - b", "-", "nothing follows"),
        ("label:", "label:", "needs a name"),
        ("label>3", ">", "after a colon"),
        ("label:a,,b", ",,", "comma"),
        ('label:"a', '"a', "no closing quote"),
        ('label:""', '""', "empty"),
    ],
)
def test_what_does_not_parse(text: str, bad: str, says: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert text[caught.value.start : caught.value.end] == bad
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("layer:5 layer:6", "layer:6"),
        ("layer:0..6", "layer:0..6"),
        ("layer:model.layers.9", "layer:model.layers.9"),
        ("layer:model.layer", "layer:model.layer"),
        ("a -expert:16", "-expert:16"),
        ("expert:1,20", "expert:1,20"),
        ("layer:0 expert:8", "expert:8"),
        ("expert>15", "expert>15"),
        ("expert<0", "expert<0"),
    ],
)
def test_what_the_model_does_not_have(text: str, bad: str) -> None:
    with pytest.raises(FilterError, match=r"they are .*"):
        parse(text).check(MODEL)
    with pytest.raises(FilterError) as caught:
        parse(text).check(MODEL)
    assert text[caught.value.start : caught.value.end] == bad


@pytest.mark.parametrize(
    "text",
    [
        "layer:0..5",
        "layer:model.layers",
        "layer:model.layers.3.mlp",
        "expert:15",
        "expert<100",
        "layer:1 expert:9",
        "a",
    ],
)
def test_what_the_model_has(text: str) -> None:
    parse(text).check(MODEL)
    parse(text).check(ModelInfo("no layers", "M"))


@given(st.lists(terms(), max_size=6))
def test_canonical_text_reads_back(several: list[Term]) -> None:
    text = Filter("", tuple(several)).to_text()
    parsed = parse(text)
    assert parsed.terms == tuple(several)
    assert parsed.to_text() == text
    assert [text[term.start : term.end] for term in parsed.terms] == [term.to_text() for term in several]


PIECES = [*'ab:"/\\-.,<>=0123 \n', "layer", "expert:", "token:", "is:"]


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
@example("expert:1,")
def test_any_text_parses_or_says_where_not(text: str) -> None:
    try:
        parsed = parse(text)
    except FilterError as error:
        where = (error.start, error.end)
    else:
        assert parse(parsed.to_text()).terms == parsed.terms
        return
    assert 0 <= where[0] < where[1] <= len(text)


def test_terms_are_added_once_and_replace_their_opposite() -> None:
    one = add_term(NO_FILTER, "expert:3")
    assert one.text == "expert:3"
    two = add_term(one, Term("token", Pattern(" def", "exact")))
    assert two.text == 'expert:3 token:" def"'
    assert add_term(two, "expert=3") is two
    assert add_term(two, "-expert:3").text == 'token:" def" -expert:3'
    assert remove_term(two, "expert:3").text == 'token:" def"'
    assert remove_term(two, "expert:4") is two
    assert remove_term(one, "expert:3") == NO_FILTER


def test_the_rest_of_a_text_stays_as_typed() -> None:
    assert add_term(parse("phase=decode"), "expert:3").text == "phase=decode expert:3"
    assert remove_term(parse("phase=decode expert:3   id:5"), "expert:3").text == "phase=decode id:5"


def completed(text: str, cursor: int | None = None) -> list[str]:
    """The filters that result from taking each completion."""
    cursor = len(text) if cursor is None else cursor
    offered = complete(text, cursor, MODEL, [" def", "def", "two words", "\n"], ["python", "two words"])
    return [text[: one.start] + one.text + text[one.end :] for one in offered]


@pytest.mark.parametrize(
    ("text", "results"),
    [
        ("-ex", ["-expert:"]),
        ("e", ["expert:", "entropy>"]),
        ("layer:3 ma", ["layer:3 margin>"]),
        ("layer:5", ["layer:5"]),
        ("layer:model.layers.4", ["layer:model.layers.4.mlp"]),
        ("expert:1,15", ["expert:1,15"]),
        ("expert:3..9", ["expert:3..9"]),
        ("phase:d", ["phase:decode"]),
        ("phase:decode,e", ["phase:decode,eval"]),
        ("is:pad", ["is:padding"]),
        ("-is:d", ["-is:dropped"]),
        ('token:"two w', ['token:"two words"']),
        ('token:" d', ['token:" def"']),
        ("token:de", ['token:" def"', "token:def"]),
        ("la", ["layer:", "label:"]),
        ("label:p", ["label:python"]),
        ("label:c,", ["label:c,python"]),
        ('label:"tw', ['label:"two words"']),
        ("-label:", ["-label:python", '-label:"two words"']),
        ("entropy>", []),
        ("foo:", []),
        ('"a la', []),
        ("zzz", []),
    ],
)
def test_completion(text: str, results: list[str]) -> None:
    assert completed(text) == results


def test_completion_of_nothing_offers_every_key_with_its_meaning() -> None:
    offered = complete("", 0, MODEL)
    assert {one.text for one in offered} >= {"layer:", "expert:", "token:", "phase:", "is:", "entropy>", "margin>"}
    assert all(one.hint for one in offered)


def test_completion_in_the_middle_replaces_the_word_under_the_cursor() -> None:
    assert completed("phase:prefill expert:3", 9) == ["phase:prefill expert:3"]
    assert completed("lay expert:3", 2) == ["layer: expert:3", "label: expert:3"]


def test_experts_offered_are_bounded() -> None:
    many = ModelInfo("m", "M", (LayerInfo("a", "B", 512, 8),))
    assert len(complete("expert:", 7, many)) == 50


@given(st.text(alphabet='lay expert:"3,.-is', max_size=12), st.integers(0, 12))
def test_completion_never_fails(text: str, cursor: int) -> None:
    cursor = min(cursor, len(text))
    for one in complete(text, cursor, MODEL, ["a b"]):
        assert 0 <= one.start <= cursor <= one.end <= len(text)
