"""A ``Why`` as a table: in characters for terminals, in HTML for notebooks and the console."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from moedesk.core.signed import signed

if TYPE_CHECKING:
    from moedesk.core.attribution import Why

MOST_EXPERTS = 8
"""Columns."""
MOST_COMPONENTS = 24
"""Rows; the smallest of more are summed up in one."""


@dataclass(frozen=True)
class Table:
    """Rows of a name and a text for each column.

    Attributes
    ----------
    title, below : str
        What stands before and after it; may have several lines.
    heads : tuple of str
        Of the columns.
    sections : tuple of sequences of (str, tuple of str)
        Rows; a line separates the sections.
    """

    title: str
    heads: tuple[str, ...]
    sections: tuple[Sequence[tuple[str, tuple[str, ...]]], ...]
    below: str = ""

    @property
    def text(self) -> str:
        """In characters, columns aligned on the right."""
        rows = [("expert", self.heads), *(row for section in self.sections for row in section)]
        first = max(len(name) for name, _ in rows)
        widths = [max(len(cells[column]) for _, cells in rows) for column in range(len(self.heads))]
        lines = [_line(("expert", self.heads), first, widths)]
        for section in self.sections:
            lines += ["─" * len(lines[0]), *(_line(row, first, widths) for row in section)]
        return "\n".join(filter(None, [self.title, *lines, self.below]))

    @property
    def html(self) -> str:
        """As a ``table`` element between what stands before and after it."""
        head = "".join(f'<th style="text-align: right">{escape(cell)}</th>' for cell in self.heads)
        rows = [f'<tr><th style="text-align: left">expert</th>{head}</tr>']
        for section in self.sections:
            for place, (name, cells) in enumerate(section):
                border = ' style="border-top: 1px solid"' if place == 0 else ""
                body = "".join(f'<td style="text-align: right">{escape(cell)}</td>' for cell in cells)
                rows.append(f'<tr{border}><td style="text-align: left">{escape(name)}</td>{body}</tr>')
        title, below = (escape(text).replace("\n", "<br>") for text in (self.title, self.below))
        return f"<b>{title}</b><table>{''.join(rows)}</table><small>{below}</small>"


def _line(row: tuple[str, tuple[str, ...]], first: int, widths: Sequence[int]) -> str:
    name, cells = row
    return "  ".join([f"{name:<{first}}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))])


def why_table(why: "Why") -> Table:
    """Return the table of the experts that were chosen, the runner-up, and the next ones whose logits were split."""
    columns = _columns(why)
    experts = why.experts[columns]
    ranked = [("logit", _cells(why.logits[experts]))]
    if np.isfinite(why.ranked).any() or np.isfinite(why.transformed).any():
        name = why.score.partition(",")[0].removesuffix("+bias")
        ranked += [(name, _cells(why.transformed[experts]))] if name != "logits" else []
        ranked += [("+ bias of the choice", _cells(why.bias[experts]))] if why.bias.any() else []
        if not why.kept.all():
            ranked.append(("group", tuple("kept" if kept else "left out" for kept in why.kept[experts])))
        ranked.append(("ranked by", _cells(why.ranked[experts])))
    ranked.append(("gate weight", tuple(_weight(why, expert) for expert in experts.tolist())))
    split = [*_component_rows(why, columns), ("remainder", tuple(f"{r:+.1e}" for r in why.remainder[columns]))]
    most = f"{why.tolerance[columns].max():.1e}" if len(columns) else "0"
    verdict = "they add up: rounding explains" if why.complete else "they do NOT add up: rounding explains only"
    margin = f" · expert {why.runner_up} missed by {why.margin:.4g}" if why.runner_up >= 0 else ""
    return Table(
        f"{why.title} ({why.path}) · ranks by {why.score}{margin}",
        tuple(_head(why, expert) for expert in experts.tolist()),
        (ranked, split, [("sum: router's dot product", _cells(why.explained[columns]))]),
        "\n".join([f"{verdict} a remainder of {most}", *why.notes]),
    )


def _columns(why: "Why") -> list[int]:
    """Places in ``experts`` of those shown: in slot order, then as they rank."""
    place = {expert: at for at, expert in enumerate(why.experts.tolist())}
    best = why.ranked if np.isfinite(why.ranked).any() else why.logits
    order = [*why.chosen.tolist(), why.runner_up, *np.argsort(-best, kind="stable").tolist()]
    return [place[expert] for expert in dict.fromkeys(order) if expert in place][:MOST_EXPERTS]


def _head(why: "Why", expert: int) -> str:
    return f"{expert} ✓" if expert in why.chosen else f"{expert} next" if expert == why.runner_up else str(expert)


def _weight(why: "Why", expert: int) -> str:
    slots = np.flatnonzero(why.chosen == expert)
    return f"{why.weights[slots].sum():.4f}" if len(slots) else ""


def _component_rows(why: "Why", columns: list[int]) -> list[tuple[str, tuple[str, ...]]]:
    values = why.contributions[:, columns]
    names = [component.name for component in why.components]
    if len(names) <= MOST_COMPONENTS:
        return [(name, _signed(row)) for name, row in zip(names, values, strict=True)]
    largest = sorted(np.argsort(-np.abs(values).max(1), kind="stable")[: MOST_COMPONENTS - 1].tolist())
    rest = np.delete(values, largest, axis=0).sum(0)
    rows = [(names[row], _signed(values[row])) for row in largest]
    return [*rows, (f"{len(names) - len(largest)} smaller ones", _signed(rest))]


def _cells(values: np.ndarray) -> tuple[str, ...]:
    return tuple(f"{value:z.4f}" if np.isfinite(value) else "–" if np.isnan(value) else str(value) for value in values)


def _signed(values: np.ndarray) -> tuple[str, ...]:
    return tuple(signed(value, 4) for value in values)
