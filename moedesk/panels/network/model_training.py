"""The Training tab: the training step of a pass, and norms of a layer's experts in it and over all steps. No Qt."""

from dataclasses import dataclass
from math import isnan

import numpy as np
import numpy.typing as npt

from moedesk.core.store import Store

READ_STEPS = 8
"""Steps read for one column of a picture; where a column stands for more, it is the mean of its first ones."""


@dataclass(frozen=True)
class Quantity:
    """Something measured of every expert in every training step.

    Attributes
    ----------
    key : str
        Field of ``Training.values``.
    title, convention : str
    """

    key: str
    title: str
    convention: str


QUANTITIES = (
    Quantity(
        "gradients",
        "Gradient norm",
        "L2 norm of the gradient of each expert's parameters, all together, as the optimizer got it: summed over the step's "
        "passes, after clipping, without a scaler's factor; 0 for an expert without tokens",
    ),
    Quantity(
        "outputs",
        "Output norm",
        "Mean L2 norm of each expert's output, without its gate weight, over the tokens routed to it in the step's passes, "
        "padding left out",
    ),
)


@dataclass(frozen=True)
class Picture:
    """A quantity of all experts of a layer over the training steps.

    Attributes
    ----------
    quantity : str
        Key of a ``Quantity``.
    values : (E, C) float32
        NaN where nothing was measured.
    edges : (C + 1,) int64
        Column c shows steps ``edges[c]`` to ``edges[c + 1]``, end excluded, by their place in the capture.
    numbers, passes : (C,) int64
        Number of the first step of a column, and its first pass.
    reduction : str
        What had to be left out; empty if nothing.
    """

    quantity: str
    values: npt.NDArray[np.float32]
    edges: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    passes: npt.NDArray[np.int64]
    reduction: str

    @property
    def scale(self) -> tuple[float, float] | None:
        """The smallest and the largest positive value; None without any."""
        positive = self.values[self.values > 0]
        return (float(positive.min()), float(positive.max())) if len(positive) else None


@dataclass(frozen=True)
class Training:
    """One training step.

    Attributes
    ----------
    title : str
    header : tuple of (str, str)
        Name and value with its unit.
    layer : int
    values : mapping of str to (E,) float32
        By key of ``QUANTITIES``.
    picture : Picture
    """

    title: str
    header: tuple[tuple[str, str], ...]
    layer: int
    values: dict[str, npt.NDArray[np.float32]]
    picture: Picture

    @property
    def measured(self) -> bool:
        """Whether anything is known of the layer's experts, in this step or any other shown."""
        return self.picture.scale is not None or any(np.isfinite(values).any() for values in self.values.values())


def read_training(store: Store, number: int, layer: int, quantity: str, columns: int) -> Training | None:
    """Read the training step of a pass, or the last one before it; None if the capture has no steps.

    Parameters
    ----------
    number : int
        The pass.
    layer : int
    quantity : str
        What the picture shows.
    columns : int
        Pixels across.
    """
    steps = store.n_steps
    if not steps:
        return None
    place = _step_of(store, number, steps)
    row = store.read_steps(place, place + 1)[0]
    own = row["first_pass"] <= number < row["last_pass"]
    values = {
        "gradients": store.gradients(layer, place, place + 1)[0],
        "outputs": store.output_norms(layer, place, place + 1)[0],
    }
    title = f"Training step {int(row['step']):,}" + ("" if own else f", the nearest to pass {number:,}")
    singles = (store.router_gradients(layer, place, place + 1)[0], store.shared_gradients(layer, place, place + 1)[0])
    return Training(
        title, tuple(_fields(row, *singles)), layer, values, _picture(store, layer, quantity, columns, steps)
    )


def _step_of(store: Store, number: int, steps: int) -> int:
    """The last step that begins at a pass or before it, else the first."""
    low, high = 0, steps
    while low < high:
        middle = (low + high) // 2
        if store.read_steps(middle, middle + 1)[0]["first_pass"] <= number:
            low = middle + 1
        else:
            high = middle
    return max(low - 1, 0)


def _fields(row: np.void, router: float, shared: float) -> list[tuple[str, str]]:
    first, last = int(row["first_pass"]), int(row["last_pass"])
    passes = "none recorded" if first == last else f"{first:,}" if last - first == 1 else f"{first:,}–{last - 1:,}"
    named = [
        ("Loss", float(row["loss"]), "of the step"),
        ("Auxiliary loss", float(row["aux_loss"]), "mean of the step's passes, without its coefficient"),
        ("Learning rate", float(row["learning_rate"]), ""),
        ("Gradient norm", float(row["grad_norm"]), "of the whole model, before clipping"),
        ("Epoch", float(row["epoch"]), ""),
        ("Router's gradient", float(router), "L2 norm, this layer"),
        ("Shared experts' gradient", float(shared), "L2 norm, this layer"),
    ]
    known = [
        (name, " · ".join(filter(None, (f"{value:.6g}", unit)))) for name, value, unit in named if not isnan(value)
    ]
    return [("Passes", passes), *known]


def _picture(store: Store, layer: int, quantity: str, columns: int, steps: int) -> Picture:
    read = store.gradients if quantity == "gradients" else store.output_norms
    width = -(-steps // max(columns, 1))
    starts = np.arange(0, steps, width)
    if width == 1:
        values, rows = read(layer, 0, steps), store.read_steps(0, steps)
    else:
        values = np.stack(
            [_mean(read(layer, start, min(start + width, start + READ_STEPS))) for start in starts.tolist()]
        )
        rows = np.concatenate([store.read_steps(start, start + 1) for start in starts.tolist()])
    reduction = ""
    if width > 1:
        of = f"the first {READ_STEPS} of " if width > READ_STEPS else ""
        reduction = f"each column: mean of {of}{width:,} steps"
    edges = np.append(starts, steps).astype(np.int64)
    return Picture(
        quantity,
        np.ascontiguousarray(values.T),
        edges,
        rows["step"].astype(np.int64),
        rows["first_pass"].astype(np.int64),
        reduction,
    )


def _mean(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(E,) means over the steps that are known."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        means = np.where(known, values, 0).sum(0, dtype=np.float64) / known.sum(0)
    return means.astype(np.float32)
