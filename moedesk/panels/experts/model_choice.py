"""Which expert is shown: typed, stepped to, or selected elsewhere."""

import re
from dataclasses import dataclass

from moedesk.core.errors import MoedeskError
from moedesk.core.model import ModelInfo
from moedesk.core.selection import Kind, Selection

_TYPED = re.compile(r"\s*(\d+)\s*[.:/ ]\s*(\d+)\s*$")


@dataclass(frozen=True)
class Choice:
    """An expert and the passes over which it is looked at.

    Attributes
    ----------
    layer, expert : int
    first, last : int
        End excluded.
    """

    layer: int
    expert: int
    first: int
    last: int

    @property
    def name(self) -> str:
        """As it is typed: layer.expert."""
        return f"{self.layer}.{self.expert}"

    @property
    def selection(self) -> Selection:
        """As ``$0``."""
        return Selection(Kind.EXPERT, layer=self.layer, expert=self.expert)


def typed(text: str, model: ModelInfo) -> tuple[int, int]:
    """Return layer and expert of a text such as ``12.37``.

    Raises
    ------
    MoedeskError
        If it is none, or the model has no such expert.
    """
    numbers = _TYPED.match(text)
    if numbers is None:
        raise MoedeskError("type layer.expert, such as 2.9")
    layer, expert = int(numbers[1]), int(numbers[2])
    if layer >= len(model.layers):
        raise MoedeskError(f"no MoE layer {layer}; there are 0–{len(model.layers) - 1}")
    if expert >= model.layers[layer].experts:
        raise MoedeskError(f"no expert {expert} in layer {layer}; there are 0–{model.layers[layer].experts - 1}")
    return layer, expert


def followed(selection: Selection, shown: tuple[int, int], model: ModelInfo) -> tuple[int, int]:
    """Return layer and expert to show after a selection; what it leaves open, or the model does not have, stays as shown."""
    layer = shown[0] if selection.layer is None else selection.layer
    layer = max(0, min(layer, len(model.layers) - 1))
    expert = shown[1] if selection.expert is None else selection.expert
    return layer, max(0, min(expert, model.layers[layer].experts - 1))


def stepped(shown: tuple[int, int], layers: int, experts: int, model: ModelInfo) -> tuple[int, int]:
    """Return layer and expert so many steps on, held at the ends."""
    return followed(Selection(layer=shown[0] + layers, expert=shown[1] + experts), shown, model)
