"""An ``Attribution`` as a table: in characters for terminals, in HTML for notebooks and the console."""

from typing import TYPE_CHECKING

import numpy as np

from moedesk.core.signed import signed
from moedesk.core.why_text import Table

if TYPE_CHECKING:
    from moedesk.core.attribution import Attribution

MOST_ROWS = 40
"""Slots, and components, that are shown; those with the largest effects of more."""

_COLUMNS = (
    ("norms", "component_norms", "‖w·f(x)‖"),
    ("direct", "component_direct", "direct"),
    ("gradient", "component_gradient", "gradient ×"),
    ("ablation", "", "ablation"),
)


def attribution_table(attribution: "Attribution") -> Table:
    """Return the table of the slots, layer by layer, and of all else that is added to the stream."""
    columns = [column for column in _COLUMNS if np.isfinite(getattr(attribution, column[0])).any()]
    rows = []
    for place, layer in enumerate(attribution.layers.tolist()):
        for slot, expert in enumerate(attribution.experts[place].tolist()):
            if expert >= 0:
                values = [getattr(attribution, name)[place, slot] for name, _, _ in columns]
                weight = f"{attribution.weights[place, slot]:.4f}"
                rows.append((f"{layer}.{expert}", (weight, *_cells(columns, values)), _largest(values[1:] or values)))
    others = []
    for place, component in enumerate(attribution.components):
        values = [_at(getattr(attribution, name) if name else None, place) for _, name, _ in columns]
        others.append((component.name, ("", *_cells(columns, values)), _largest(values[1:] or values)))
    unit = "nats" if attribution.target == "log-probability" else "logits"
    return Table(
        f"{attribution.title}: {attribution.value:z.4f} {unit}",
        ("weight", *(title for _, _, title in columns)),
        tuple(_shown(section) for section in (rows, others) if section),
        "\n".join([*verdict(attribution), *attribution.notes]),
    )


def verdict(attribution: "Attribution") -> list[str]:
    """Return what adds up, and what is left: a line each for the target, the blocks' outputs, and equal runs."""
    lines = []
    if attribution.method == "direct":
        fine = "rounding explains" if attribution.complete else "NOT complete: rounding explains only"
        lines.append(
            f"direct contributions add up to {attribution.explained:z.4f} of the logit {attribution.logit:z.4f}; "
            f"residual {attribution.residual:+.1e}, {fine} {attribution.tolerance:.1e}"
        )
    errors, allowed = attribution.sum_errors, attribution.sum_tolerances
    known = np.isfinite(errors)
    if known.any():
        wrong = attribution.layers[known & (errors > allowed)].tolist()
        said = f"NOT at layers {', '.join(map(str, wrong))}" if wrong else "at every layer"
        lines.append(
            f"slots and shared experts add up to the block's output {said}: relative error {errors[known].max():.1e}, "
            f"rounding explains {allowed[known].max():.1e}"
        )
    if np.isfinite(attribution.noise):
        lines.append(f"ablation effects: with minus without; equal runs differ by up to {attribution.noise:.1e}")
    return lines


def _shown(rows: list[tuple[str, tuple[str, ...], float]]) -> list[tuple[str, tuple[str, ...]]]:
    """The rows, or those with the largest effects of many."""
    kept = set(sorted(range(len(rows)), key=lambda place: -rows[place][2])[:MOST_ROWS])
    shown = [(name, cells) for place, (name, cells, _) in enumerate(rows) if place in kept]
    if len(rows) > len(shown):
        shown.append((f"{len(rows) - len(shown)} smaller ones", ("",) * len(rows[0][1])))
    return shown


def _largest(values: list[float]) -> float:
    return float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 0.0


def _at(values: "np.ndarray | None", place: int) -> float:
    return float(values[place]) if values is not None and place < len(values) else float("nan")


def _cells(columns: list[tuple[str, str, str]], values: list[float]) -> tuple[str, ...]:
    texts = (f"{v:.4f}" if name == "norms" else signed(v, 4) for (name, _, _), v in zip(columns, values, strict=True))
    return tuple("" if np.isnan(value) else text for text, value in zip(texts, values, strict=True))
