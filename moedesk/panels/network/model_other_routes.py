"""What the page "Routes" says: what the runner-up experts would have done to the loss. No Qt."""

from dataclasses import dataclass

import numpy as np

from moedesk.core.attribution import Counterfactual
from moedesk.core.signed import signed
from moedesk.core.visible import visible_text
from moedesk.ui.bar import Bar

CONVENTION = (
    "Regret: loss with the router's choice minus that of the best route tried, in nats; 0 where the router's choice is the best. "
    "Each route changes one layer, for this token alone; the model then runs on with it."
)


@dataclass(frozen=True)
class Route:
    """One route at one layer.

    Attributes
    ----------
    experts : str
        Its experts, those of the router's choice that it lacks left out.
    loss : float
        In nats.
    change : float
        Loss minus that of the router's choice; below 0 the route is better.
    own : bool
        Whether it is the router's choice.
    hint : str
    """

    experts: str
    loss: float
    change: float
    own: bool
    hint: str


@dataclass(frozen=True)
class Regret:
    """What a layer's choice cost.

    Attributes
    ----------
    layer : int
    regret : float
        In nats.
    rank, routes : int
        Place of the router's choice among so many routes, from 0, the best.
    """

    layer: int
    regret: float
    rank: int
    routes: int


def routes(found: Counterfactual, layer: int) -> list[Route]:
    """Return the routes tried at a layer, the best first."""
    places = np.flatnonzero(found.layers == layer)
    own_ids = {int(e) for place in places if found.own[place] for e in found.experts[place] if e >= 0}
    result = []
    for place in places[np.argsort(found.losses[places], kind="stable")].tolist():
        ids = [int(e) for e in found.experts[place] if e >= 0]
        pairs = zip(found.experts[place].tolist(), found.weights[place].tolist(), strict=True)
        hint = ", ".join(f"{e} × {w:.3f}" for e, w in pairs if e >= 0)
        new = [str(e) for e in ids if e not in own_ids]
        gone = [str(e) for e in sorted(own_ids - set(ids))]
        text = (
            ", ".join(map(str, ids))
            if found.own[place]
            else f"{', '.join(new) or 'none'} for {', '.join(gone) or 'none'}"
        )
        loss = float(found.losses[place])
        result.append(Route(text, loss, loss - found.loss, bool(found.own[place]), f"experts and gate weights: {hint}"))
    return result


def regrets(found: Counterfactual) -> list[Regret]:
    """Return what each layer's choice cost, in the order of the layers."""
    if not len(found.losses):
        return []
    triples = zip(found.tried_layers.tolist(), found.regrets.tolist(), found.ranks.tolist(), strict=True)
    return [Regret(layer, regret, rank, int((found.layers == layer).sum())) for layer, regret, rank in triples]


def bars(found: Counterfactual) -> list[Bar]:
    """Return a bar of regret for each layer."""
    every = regrets(found)
    most = max((each.regret for each in every), default=0.0)
    return [
        Bar(
            f"L{each.layer}",
            f"{each.regret:.4f} · {_ordinal(each.rank + 1)} of {each.routes}",
            each.regret / most if most else 0.0,
            hint=f"Layer {each.layer}: regret {each.regret:.4g} nats; the router's choice is {_ordinal(each.rank + 1)} best of "
            f"{each.routes} routes tried. Click for the routes.",
            key=each.layer,
        )
        for each in every
    ]


def headline(found: Counterfactual) -> str:
    """Return whose loss it is, how often the router chose best, and the best other route."""
    every = regrets(found)
    name = f"“{visible_text(found.next_text)}”" if found.next_text else f"id {found.next_id}"
    if not every:
        return f"No other route of this token could be tried for {name}."
    best = sum(each.rank == 0 for each in every)
    where = f"at {best} of {len(every)} layers" if len(every) > 1 else "here" if best else "not here"
    said = (
        f"Loss of the next token {name}: {found.loss:.4f} nats. The router's choice is the best of those tried {where}."
    )
    worst = max(every, key=lambda each: each.regret)
    if worst.regret > 0:
        top = routes(found, worst.layer)[0]
        said += f" Best other route: L{worst.layer} with {top.experts}, {signed(top.change, 4)} nats."
    return said


def whole(found: Counterfactual) -> str:
    """Return what whole routes, sampled through all layers at once, did, and how far equal runs differ; empty if unknown."""
    said = []
    if len(found.whole_losses):
        better, count = int((found.whole_losses < found.loss).sum()), len(found.whole_losses)
        change = float(found.whole_losses.min()) - found.loss
        said.append(
            f"Of {count} whole routes, sampled through these layers at once, {better} have a lower loss than the router's; the "
            f"best {signed(change, 4)} nats."
        )
    if np.isfinite(found.noise):
        said.append(f"Equal runs differ by up to {found.noise:.1e} nats: nearer losses can't be told apart.")
    return " ".join(said)


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
