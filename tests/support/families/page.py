"""The table of docs/families.md, from what the tests check. ``python -m tests.support.families.page`` writes it into the page."""

from collections.abc import Iterable
from math import isnan
from pathlib import Path

from tests.support.families import FAMILIES
from tests.support.families.family import Family, Layer

PAGE = Path(__file__).parents[3] / "docs" / "families.md"
BEGIN, END = "<!-- families: written by tests/support/families/page.py -->\n", "<!-- end of families -->\n"
HEAD = "| family | read by | ranks by | shared | factor after the experts | streams | special |\n|---|---|---|---|---|---|---|\n"


def table() -> str:
    """The rows, one a family, in the order of their names."""
    return HEAD + "".join(_row(FAMILIES[name]) for name in sorted(FAMILIES))


def _row(family: Family) -> str:
    layers = family.layers
    cells = (
        family.name,
        _each(f"adapter {layer.adapter}" if layer.adapter else "generic rule" for layer in layers),
        _each(_score(layer) for layer in layers),
        _each(str(layer.shared) for layer in layers),
        _each("not linear" if isnan(layer.post_scale) else f"{layer.post_scale:g}" for layer in layers),
        _each(layer.stream for layer in layers),
        family.note,
    )
    return "| " + " | ".join(cells) + " |\n"


def _score(layer: Layer) -> str:
    """What is ranked; of the tiny model's groups only that there are any."""
    return layer.score.replace(", 2 of 4 groups", ", groups")


def _each(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def written(text: str) -> str:
    """The page with this table in it."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
