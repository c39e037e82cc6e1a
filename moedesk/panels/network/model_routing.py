"""What the Routing tab says of a token: one line a layer. No Qt."""

from moedesk.analysis.tokens import LayerRoute, TokenRoutes
from moedesk.core.columns import RouteFlag
from moedesk.core.visible import visible_text
from moedesk.panels.network.model_tokens import number, unknown_if_negative

FLAG_NAMES = {
    RouteFlag.DROPPED: "dropped",
    RouteFlag.OVERRIDDEN: "overridden",
    RouteFlag.ABSENT: "absent",
    RouteFlag.NONFINITE: "not finite",
}


def heading(routes: TokenRoutes) -> str:
    """Return one line about the token."""
    token = routes.token
    parts = [
        f"“{visible_text(routes.text)}”",
        f"id {unknown_if_negative(token['token_id'])}",
        f"pass {int(token['pass']):,}",
        f"sequence {int(token['sequence']):,}",
        f"position {unknown_if_negative(token['position'])}",
    ]
    if token["is_padding"]:
        parts.append("padding")
    if routes.stream not in ("main", ""):
        parts.append(routes.stream)
    return " · ".join(parts)


def flags_text(route: LayerRoute) -> str:
    """Return the names of a layer's flags for the token."""
    return ", ".join(name for flag, name in FLAG_NAMES.items() if flag in route.flags)


def slot_text(route: LayerRoute, rank: int) -> str:
    """Return expert and weight of the choice of that rank; empty if there is none."""
    if rank >= len(route.slots) or RouteFlag.ABSENT in route.flags:
        return ""
    slot = route.slots[rank]
    return "dropped" if slot.expert < 0 else f"{slot.expert}   {number(slot.weight)}"


def bar(route: LayerRoute, rank: int) -> tuple[int, float] | None:
    """Return expert and share of the token's summed weights of the choice of that rank; None if there is none."""
    if rank >= len(route.slots) or RouteFlag.ABSENT in route.flags or route.slots[rank].expert < 0:
        return None
    total = sum(abs(slot.weight) for slot in route.slots if slot.weight == slot.weight)
    weight = route.slots[rank].weight
    return route.slots[rank].expert, abs(weight) / total if total and weight == weight else 0.0


def most_slots(routes: TokenRoutes) -> int:
    """Return the largest number of slots of any layer."""
    return max((len(route.slots) for route in routes.layers), default=0)
