"""A ``Counterfactual`` as a table: in characters for terminals, in HTML for notebooks and the console."""

from typing import TYPE_CHECKING

import numpy as np

from moedesk.core.signed import signed
from moedesk.core.why_text import Table

if TYPE_CHECKING:
    from moedesk.core.attribution import Counterfactual


def routes_table(found: "Counterfactual") -> Table:
    """Return the table of the layers: the router's choice, its rank, the best route tried, and the regret."""
    rows = []
    for place, layer in enumerate(found.tried_layers.tolist()):
        mine = np.flatnonzero(found.layers == layer)
        own = next(row for row in mine.tolist() if found.own[row])
        best = int(mine[found.losses[mine].argmin()])
        rank = f"{found.ranks[place] + 1} of {len(mine)}"
        change = signed(found.losses[best] - found.losses[own], 4)
        rows.append((f"layer {layer}", (_route(found.experts[own]), rank, _route(found.experts[best]), change)))
    first = int((found.ranks == 0).sum())
    below = [
        f"regret: {found.regrets.max():.4f} nats at most",
        f"the router's choice is the best of those tried at {first} of {len(rows)} layers",
    ]
    if len(found.whole_losses):
        better = int((found.whole_losses < found.loss).sum())
        count, best_change = len(found.whole_losses), found.whole_losses.min() - found.loss
        below.append(
            f"{better} of {count} whole routes have a lower loss than the router's; the best {signed(best_change, 4)} nats"
        )
    if np.isfinite(found.noise):
        below.append(f"equal runs differ by up to {found.noise:.1e}")
    next_one = found.next_text or found.next_id
    return Table(
        f"{found.title}: loss of {next_one!r} {found.loss:.4f} nats",
        ("router's choice", "its rank", "best tried", "loss, nats"),
        (rows,),
        "\n".join([*below, *found.notes]),
    )


def _route(experts: np.ndarray) -> str:
    return ", ".join(str(expert) for expert in experts.tolist() if expert >= 0) or "dropped"
