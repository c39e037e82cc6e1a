"""What can be overridden at a place: the entries that menus and commands offer. No Qt."""

from dataclasses import dataclass, replace

from moedesk.core.model import LayerInfo
from moedesk.core.override import Override, OverrideKind

NEW_SESSION = "A new session begins, since rows then have other slots; Undo close (Ctrl+Shift+T) brings this one back"
"""What comes of setting k, of taking it back, and of switching it."""
LEAST, MOST = 1e-6, 1e6
"""Numbers that are asked for lie between them."""


@dataclass(frozen=True)
class Offer:
    """One entry of a menu.

    Attributes
    ----------
    title : str
        What it says; ends in … if it asks for a number first.
    override : Override
        What is set; if it asks, with the number to start from.
    question : str
        What is asked for; empty if nothing is.
    lowest, highest : float
        Numbers that can be given.
    hint : str
        What else comes of it; empty if nothing does.
    """

    title: str
    override: Override
    question: str = ""
    lowest: float = 0.0
    highest: float = 0.0
    hint: str = ""

    @property
    def whole(self) -> bool:
        """Whether whole numbers are asked for."""
        return self.override.kind in (OverrideKind.TOP_K, OverrideKind.SWAP)

    @property
    def start(self) -> float:
        """The number to start from."""
        override = self.override
        return float(override.experts[1] if override.kind is OverrideKind.SWAP else override.value or 0)

    def answered(self, number: float) -> Override:
        """Return what is set once the number is given."""
        if self.override.kind is OverrideKind.SWAP:
            return replace(self.override, experts=(self.override.experts[0], int(number)))
        return replace(self.override, value=float(number))


def expert_offers(layer: LayerInfo, expert: int, columns: tuple[int, int] | None = None) -> tuple[Offer, ...]:
    """Return what can be done to an expert, at all tokens or at some slots of their sequences."""
    name, other = f"expert {layer.place}.{expert}", expert + 1 if expert + 1 < layer.experts else 0

    def override(kind: OverrideKind, value: float | None = None) -> Override:
        return Override(kind, (layer.place,), (expert,), value, columns)

    return (
        Offer(f"Ablate {name}", override(OverrideKind.ABLATE)),
        Offer(f"Exclude {name}", override(OverrideKind.EXCLUDE)),
        Offer(f"Force {name}", override(OverrideKind.FORCE)),
        Offer(f"Bias {name}…", override(OverrideKind.BIAS, 1.0), f"Number added to the logit of {name}", -MOST, MOST),
        Offer(f"Scale {name}…", override(OverrideKind.SCALE, 0.5), f"Factor of the gate weight of {name}", -MOST, MOST),
        Offer(
            f"Swap {name} with…",
            replace(override(OverrideKind.SWAP), experts=(expert, other)),
            f"Expert of layer {layer.place} that changes places with {name}, 0 to {layer.experts - 1}",
            0,
            layer.experts - 1,
        ),
    )


def layer_offers(layer: LayerInfo, columns: tuple[int, int] | None = None) -> tuple[Offer, ...]:
    """Return what can be done to a layer; what acts on whole passes only where no slots are given."""
    name, at = f"layer {layer.place}", (layer.place,)
    temperature = Offer(
        f"Set temperature of {name}…",
        Override(OverrideKind.TEMPERATURE, at, value=2.0, columns=columns),
        f"Logits of {name} are divided by",
        LEAST,
        MOST,
    )
    if columns is not None:
        return (temperature,)
    return (
        Offer(
            f"Set k of {name} (new session)…",
            Override(OverrideKind.TOP_K, at, value=float(layer.top_k)),
            f"Experts a token at {name}; the model has {layer.top_k} of {layer.experts}",
            1,
            layer.experts,
            NEW_SESSION,
        ),
        temperature,
        Offer(
            f"Set capacity of {name}…",
            Override(OverrideKind.CAPACITY, at, value=1.25),
            f"Capacity factor of {name}: an expert keeps ceil(factor × tokens × k ÷ experts) slots of a pass",
            LEAST,
            MOST,
        ),
    )
