"""What the page "Attribution" says: what each expert, and all else that is added, did to a target at a token. No Qt."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, isnan, nan

import numpy as np

from moedesk.core.attribution import Attribution
from moedesk.core.attribution_text import verdict as verdict_lines
from moedesk.core.signed import signed
from moedesk.core.visible import visible_text
from moedesk.panels.network.model_explain import sentences


@dataclass(frozen=True)
class Quantity:
    """A column.

    Attributes
    ----------
    key : str
        Field of ``Attribution``.
    title, convention : str
    signed : bool
    component : str
        Field with the same of the other components; empty if there is none.
    """

    key: str
    title: str
    convention: str
    signed: bool = True
    component: str = ""


ABLATION, WEIGHT = "ablation", "weights"
QUANTITIES = (
    Quantity(WEIGHT, "Weight", "Gate weight as the expert received it", signed=False),
    Quantity(
        "norms",
        "Norm",
        "‖w·f(x)‖₂ of what it adds to the residual stream, in the stream's unit",
        signed=False,
        component="component_norms",
    ),
    Quantity(
        "direct",
        "Direct",
        "Direct attribution: what it adds to the target token's logit through the final norm (scale frozen) and the unembedding, "
        "in logits, whatever the target",
        component="component_direct",
    ),
    Quantity(
        "gradient",
        "Grad × out",
        "Gradient of the target × what it adds: the first-order effect on all that comes after it, {unit}",
        component="component_gradient",
    ),
    Quantity(
        ABLATION,
        "Ablation",
        "Target minus the target without it (its gate weight 0, nothing renormalised), {unit}; above 0: it helped",
    ),
)
"""Columns, in order."""
EFFECTS = tuple(quantity for quantity in QUANTITIES if quantity.signed)


@dataclass(frozen=True)
class Row:
    """One slot, or another component.

    Attributes
    ----------
    name : str
    layer, slot, expert : int
        -1 for what is no expert's.
    values : tuple of float
        In the order of ``QUANTITIES``; NaN where unknown.
    hint : str
    """

    name: str
    layer: int
    slot: int
    expert: int
    values: tuple[float, ...]
    hint: str = ""


def target_of(text: str) -> int | str | None:
    """Return what was typed as a target: an id if it is a number, a token's text, quotes around it left out, or None."""
    number = text.strip()
    if number.isdecimal():
        return int(number)
    quoted = len(number) > 1 and number[0] == number[-1] == '"'
    return (number[1:-1] if quoted else text) or None


def unit(attribution: Attribution) -> str:
    """Return in what the target is measured."""
    return "in nats" if attribution.target == "log-probability" else "in logits"


def convention(quantity: Quantity, attribution: Attribution) -> str:
    """Return what a column means for this target."""
    return quantity.convention.format(unit=unit(attribution))


def rows(attribution: Attribution) -> list[Row]:
    """Return a row for each slot that there is, layer by layer, then one for each other component."""
    found = []
    for place, layer in enumerate(attribution.layers.tolist()):
        gradient = _at(attribution.gradient_norms, (place,))
        hint = "" if isnan(gradient) else f"‖∂target/∂(output of L{layer} at this token)‖₂ = {gradient:.4g}"
        for slot, expert in enumerate(attribution.experts[place].tolist()):
            values = tuple(_at(getattr(attribution, quantity.key), (place, slot)) for quantity in QUANTITIES)
            if expert >= 0:
                found.append(Row(f"L{layer} · {expert}", layer, slot, expert, values, hint))
    for place, component in enumerate(attribution.components):
        values = tuple(
            _at(getattr(attribution, quantity.component), (place,)) if quantity.component else nan
            for quantity in QUANTITIES
        )
        found.append(Row(component.name, -1, -1, -1, values, component.path))
    return found


def shown(attribution: Attribution) -> tuple[Quantity, ...]:
    """Return the columns of which anything is known."""
    known = []
    for quantity in QUANTITIES:
        arrays = [getattr(attribution, key) for key in (quantity.key, quantity.component) if key]
        if any(np.isfinite(array).any() for array in arrays):
            known.append(quantity)
    return tuple(known)


def text(value: float, quantity: Quantity) -> str:
    """Return a cell's text."""
    if not isfinite(value):
        return "–" if isnan(value) else str(value)
    return signed(value, 4) if quantity.signed else f"{value:.4f}"


def ordered(found: list[Row], column: int, descending: bool) -> list[Row]:
    """Return rows by a column of ``QUANTITIES``, effects by their size, unknown ones last; by place with column -1."""
    if column < 0:
        return list(reversed(found)) if descending else list(found)
    known = [row for row in found if not isnan(row.values[column])]
    unknown = [row for row in found if isnan(row.values[column])]
    return [*sorted(known, key=lambda row: abs(row.values[column]), reverse=descending), *unknown]


def headline(attribution: Attribution) -> str:
    """Return what is explained, and its value."""
    token, target = visible_text(attribution.token.text), visible_text(attribution.target_text)
    name = f"“{target}”" if target else f"id {attribution.target_id}"
    what = "Log-probability" if attribution.target == "log-probability" else "Logit"
    return f"{what} of {name} after “{token}”: {attribution.value:z.4f} {unit(attribution).removeprefix('in ')}"


def verdict(attribution: Attribution) -> tuple[bool, str]:
    """Return whether the contributions add up to the target, and the sentence that says so; the residual is always in it."""
    errors, allowed = attribution.sum_errors, attribution.sum_tolerances
    fine = attribution.method != "direct" or attribution.complete
    fine = fine and not bool((np.isfinite(errors) & (errors > allowed)).any())
    lines = verdict_lines(attribution)
    if attribution.method in ("gradient", "ablation"):
        names = {"gradient": "gradient × output", "ablation": "ablation effects"}
        lines.insert(
            0,
            f"{names[attribution.method]} add up to {attribution.explained:z.4f}; residual {attribution.residual:+.1e}, which "
            "this method need not explain",
        )
    return fine, sentences(lines)


def attention_means(attribution: Attribution) -> np.ndarray:
    """Return (A, T) attention weights, the mean over the heads."""
    attention = attribution.attention
    return attention.mean(axis=1) if attention.size else np.zeros((0, 0))


def seen_gradients(attribution: Attribution) -> np.ndarray:
    """Return (1, T) norms of the gradient by each token's embedding; empty if there are none."""
    norms = attribution.embedding_gradient_norms
    return norms[None, :] if norms.size else np.zeros((0, 0))


def seen_text(attribution: Attribution, column: int, texts: Sequence[str]) -> str:
    """Return what one cell of these says."""
    norm = attribution.embedding_gradient_norms[column]
    return f"token {column}{_quoted(texts, column)}: ‖∂target/∂embedding‖₂ = {norm:.4g}"


def attention_text(attribution: Attribution, row: int, column: int, texts: Sequence[str]) -> str:
    """Return what one cell of the attention says."""
    heads = attribution.attention[row, :, column]
    seen = _quoted(texts, column)
    most = int(np.argmax(heads))
    return (
        f"attention {int(attribution.attention_blocks[row])} to token {column}{seen}: {heads.mean():.3f}, the mean of "
        f"{len(heads)} heads; most in head {most}: {heads[most]:.3f}"
    )


def _quoted(texts: Sequence[str], column: int) -> str:
    return f" “{visible_text(texts[column])}”" if column < len(texts) else ""


def _at(array: np.ndarray, place: tuple[int, ...]) -> float:
    """A value, NaN where nothing was computed."""
    fits = array.ndim == len(place) and all(index < size for index, size in zip(place, array.shape, strict=True))
    return float(array[place]) if fits else nan
