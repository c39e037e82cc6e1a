"""A parsed filter."""

from dataclasses import dataclass

from moedesk.core.errors import FilterError
from moedesk.core.filter.keys import KEYS, PASS_FLAGS, ROUTE_FLAGS
from moedesk.core.filter.term import Numbers, Term, Words
from moedesk.core.model import LayerInfo, ModelInfo


@dataclass(frozen=True)
class Filter:
    """A filter's text as typed, and its terms, which must all hold. False if it is empty.

    Two filters are equal if their texts are.
    """

    text: str = ""
    terms: tuple[Term, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)

    def to_text(self) -> str:
        """Return the canonical text, which parses to the same terms."""
        return " ".join(term.to_text() for term in self.terms)

    @property
    def columns(self) -> frozenset[str]:
        """The columns that must be read to evaluate it: of ``experts weights loads entropy margin flags texts``."""
        needs = {"flags"}
        for term in self.terms:
            if term.key in ("entropy", "margin"):
                needs.add(term.key)
            elif term.key == "expert":
                needs.add("experts")
            elif term.key == "weight":
                needs.update(("experts", "weights"))
            elif term.key == "load":
                needs.update(("experts", "loads"))
            elif term.key == "token":
                needs.add("texts")
        return frozenset(needs)

    @property
    def certainties(self) -> tuple[str, ...]:
        """Those of ``entropy`` and ``margin`` that a term asks for which an unknown one can't satisfy: one that isn't negated."""
        asked = {term.key for term in self.terms if not term.negated}
        return tuple(key for key in ("entropy", "margin") if key in asked)

    @property
    def asks_passes_only(self) -> bool:
        """Whether every term is about the pass, so that passes without token rows can match."""
        return all(is_about_pass(term) for term in self.terms)

    def names_flag(self, flag: str) -> bool:
        """Whether a term, negated or not, names ``is:flag``."""
        return any(
            term.key == "is" and isinstance(term.value, Words) and flag in term.value.names for term in self.terms
        )

    @property
    def names_labels(self) -> bool:
        """Whether a term asks about labels."""
        return any(term.key == "label" for term in self.terms)

    def wants_layer(self, layer: LayerInfo) -> bool:
        """Whether the layer terms hold for ``layer``."""
        return all(_layer_holds(term, layer) != term.negated for term in self.terms if term.key == "layer")

    def check(self, model: ModelInfo) -> None:
        """Check that the layers and experts it names exist.

        Raises
        ------
        FilterError
            If one does not.
        """
        if not model.layers:
            return
        for term in self.terms:
            if term.key == "layer":
                _check_layers(term, model)
        wanted = [layer for layer in model.layers if self.wants_layer(layer)] or model.layers
        limit = max(layer.experts for layer in wanted)
        for term in self.terms:
            if term.key == "expert":
                _check_limit(term, limit, "expert")


NO_FILTER = Filter()


def is_about_pass(term: Term) -> bool:
    """Whether a term can be decided from its pass alone."""
    if term.key == "is":
        return isinstance(term.value, Words) and all(name in PASS_FLAGS for name in term.value.names)
    return KEYS[term.key].scope == "pass"


def is_about_token(term: Term) -> bool:
    """Whether a term can be decided from the token row and its pass, without a layer."""
    if term.key == "is":
        return isinstance(term.value, Words) and not any(name in ROUTE_FLAGS for name in term.value.names)
    return KEYS[term.key].scope in ("pass", "token")


def _layer_holds(term: Term, layer: LayerInfo) -> bool:
    if isinstance(term.value, Words):
        return any(layer.path == name or layer.path.startswith(f"{name}.") for name in term.value.names)
    assert isinstance(term.value, Numbers)
    return any(
        (part.low is None or layer.place > part.low or (layer.place == part.low and not part.low_open))
        and (part.high is None or layer.place < part.high or (layer.place == part.high and not part.high_open))
        for part in term.value.intervals
    )


def _check_layers(term: Term, model: ModelInfo) -> None:
    if isinstance(term.value, Numbers):
        _check_limit(term, len(model.layers), "layer")
        return
    assert isinstance(term.value, Words)
    for name in term.value.names:
        if not any(layer.path == name or layer.path.startswith(f"{name}.") for layer in model.layers):
            first, last = model.layers[0].path, model.layers[-1].path
            raise FilterError(f"no MoE layer at {name}; they are {first} … {last}", term.start, term.end)


def _check_limit(term: Term, limit: int, what: str) -> None:
    assert isinstance(term.value, Numbers)
    for part in term.value.intervals:
        too_low = part.low is not None and (part.low >= limit or (part.low_open and part.low >= limit - 1))
        too_high = part.high is not None and part.low is not None and part.high >= limit
        nothing = part.high is not None and part.high_open and part.high <= 0
        if too_low or too_high or nothing:
            raise FilterError(
                f"{term.to_text()} reaches beyond the {what}s; they are 0 to {limit - 1}", term.start, term.end
            )
