"""The table of docs/attribution.md: what every family's logits are split into; the tests look at some of its rows.

``python -m tests.support.families.why_page`` writes it into the page, in a few minutes.
"""

import re
from dataclasses import replace
from pathlib import Path

from moedesk.core.errors import MoedeskError
from moedesk.probe.explaining.passage import passage_of_ids
from moedesk.probe.explaining.rerun import Rerun
from moedesk.probe.explaining.why import FROZEN, why
from tests.support.families import FAMILIES
from tests.support.families.family import some_ids

PAGE = Path(__file__).parents[3] / "docs" / "attribution.md"
BEGIN, END = "<!-- parts: written by tests/support/families/why_page.py -->\n", "<!-- end of parts -->\n"
HEAD = "| family | parts of the last MoE layer's logits | special |\n|---|---|---|\n"


def row(name: str) -> str:
    """The row of a family: kinds of parts in the order of the forward, or why there are none."""
    model = FAMILIES[name].build()
    passage = passage_of_ids(some_ids(1)[0])
    if FAMILIES[name].layers[0].stream == "encoder":
        passage = replace(passage, source=some_ids(1, seed=5)[0].numpy())
    try:
        with Rerun(model, passage) as rerun:
            last = rerun.bindings[-1].layer.place
        found = why(model, passage, last)
    except MoedeskError as error:
        return f"| {name} | – | {_short(str(error))} |\n"
    assert found.complete, name
    words = dict.fromkeys(re.sub(r" \d+.*", "", component.name) for component in found.components)
    special = [note for note in found.notes if note != FROZEN and not note.startswith("the model was run")]
    return f"| {name} | {', '.join(words)} | {'; '.join(special)} |\n"


def _short(error: str) -> str:
    if "decoder begins" in error:
        return "does not say with which token its decoder begins"
    return "takes no token ids of its own" if "input_ids" in error or "embed_tokens" in error else error


def written(text: str) -> str:
    """The page with this table in it."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + HEAD + "".join(map(row, sorted(FAMILIES))) + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
