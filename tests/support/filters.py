"""Random filter terms for property tests."""

import re

from hypothesis import strategies as st

from moedesk.core.filter import Interval, Numbers, Pattern, Term, Words, token_pattern
from moedesk.core.filter.keys import FLAGS, PHASES

TEXTS = st.text(alphabet=st.sampled_from('abé def:"/\\-.,<>=0 \n\t'), max_size=6)


def intervals(numbers) -> st.SearchStrategy[Interval]:
    return st.one_of(
        numbers.map(lambda n: Interval(n, n)),
        st.tuples(numbers, numbers).map(lambda pair: Interval(min(pair), max(pair))),
        st.builds(lambda n, is_open: Interval(low=n, low_open=is_open), numbers, st.booleans()),
        st.builds(lambda n, is_open: Interval(high=n, high_open=is_open), numbers, st.booleans()),
    )


def values(numbers) -> st.SearchStrategy[Numbers]:
    """One interval of any kind, or a list; in a list no end is open, as there is no way to write one."""
    closed = intervals(numbers).map(lambda one: Interval(one.low, one.high))
    return st.one_of(
        intervals(numbers).map(lambda one: Numbers((one,))),
        st.lists(closed, min_size=2, max_size=3).map(lambda several: Numbers(tuple(several))),
    )


def is_regex(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    needless_escape = re.search(r"(?<!\\)(?:\\\\)*\\/", text)  # a parsed one never has it
    return bool(text) and not needless_escape


def terms(limit: int = 10**6) -> st.SearchStrategy[Term]:
    whole = st.integers(0, limit)
    floats = st.floats(allow_nan=False, allow_infinity=False, width=32)
    return st.one_of(
        st.builds(
            Term,
            st.sampled_from(["layer", "expert", "pass", "sequence", "position", "id"]),
            values(whole),
            st.booleans(),
        ),
        st.builds(Term, st.sampled_from(["entropy", "margin", "weight", "load"]), values(floats), st.booleans()),
        st.builds(Term, st.just("phase"), words(PHASES), st.booleans()),
        st.builds(Term, st.just("is"), words(FLAGS), st.booleans()),
        st.builds(Term, st.just("label"), words(("code", "prose", "odd")), st.booleans()),
        st.builds(
            Term,
            st.just("label"),
            st.sampled_from(["two words", "a,b", '"q"', "x\ty"]).map(lambda n: Words((n,))),
            st.booleans(),
        ),
        st.builds(Term, st.just("layer"), words(("model", "model.layers.0", "model.layers.2.mlp")), st.booleans()),
        st.builds(Term, st.just("token"), TEXTS.map(token_pattern), st.booleans()),
        st.builds(
            Term, st.just("token"), TEXTS.filter(bool).map(lambda text: Pattern(text, "contains")), st.booleans()
        ),
        st.builds(
            Term, st.just("token"), TEXTS.filter(is_regex).map(lambda text: Pattern(text, "regex")), st.booleans()
        ),
    )


def words(names: tuple[str, ...]) -> st.SearchStrategy[Words]:
    return st.lists(st.sampled_from(names), min_size=1, max_size=3).map(lambda several: Words(tuple(several)))
