"""Which kind of override acts on a layer: by how it comes from its score to its routing."""

from collections.abc import Sequence

from moedesk.probe.finding.binding import Binding
from moedesk.probe.overriding.act import Act
from moedesk.probe.overriding.adapted_override import AdaptedOverride
from moedesk.probe.overriding.layer_override import LayerOverride
from moedesk.probe.overriding.layers import Layers
from moedesk.probe.overriding.selecting_override import SelectingOverride
from moedesk.probe.overriding.watched_override import WatchedOverride
from moedesk.probe.overriding.within_override import WithinOverride


def layer_override(layers: Layers, binding: Binding, acts: Sequence[Act]) -> LayerOverride:
    """Return what acts on a layer; it is not put on yet.

    Raises
    ------
    MoedeskError
        If an act is on its score, and it is not known where that can be changed.
    """
    watched = layers.watched(binding)
    if watched is not None:
        return WatchedOverride(binding, watched, acts)
    way = layers.way(binding.layer.place) if any(act.scores for act in acts) else None
    if way is not None and way.by_adapter:
        return AdaptedOverride(binding, way, acts)
    if way is None:
        return LayerOverride(binding, way, acts)
    return WithinOverride(binding, way, acts) if way.within else SelectingOverride(binding, way, acts)
