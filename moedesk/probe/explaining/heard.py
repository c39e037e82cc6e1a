"""What the slots of all layers gave to a passage's token."""

from collections.abc import Mapping

from moedesk.core.errors import MoedeskError
from moedesk.probe.explaining.rerun import Rerun
from moedesk.probe.explaining.slots import SlotListener, Slots


def heard_slots(rerun: Rerun) -> tuple[dict[int, Slots], dict[int, str]]:
    """Return the slots of each layer by its place, and why others have none, by one forward without gradients."""
    listeners = {binding.layer.place: SlotListener(binding) for binding in rerun.bindings}
    try:
        for listener in listeners.values():
            listener.attach()
        rerun.run()
    finally:
        for listener in listeners.values():
            listener.detach()
    return slots_of(rerun, listeners)


def slots_of(rerun: Rerun, listeners: Mapping[int, SlotListener]) -> tuple[dict[int, Slots], dict[int, str]]:
    """Return the same of a forward that was listened to."""
    found, problems = {}, {}
    for place, listener in listeners.items():
        routing = rerun.routing(listener.binding)
        try:
            if routing is None:
                raise MoedeskError("its routing is not known")
            found[place] = listener.slots(*routing)
        except MoedeskError as error:
            problems[place] = str(error)
        except (RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
            problems[place] = f"an expert alone can't be run: {str(error).partition(chr(10))[0]}"
    return found, problems
