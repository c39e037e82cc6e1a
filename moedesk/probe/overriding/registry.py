"""The one list of overrides of each model."""

import weakref

from torch import nn

from moedesk.probe.attach import known_bindings
from moedesk.probe.overriding.layers import Layers
from moedesk.probe.overriding.overrides import Overrides

_lists: "weakref.WeakKeyDictionary[nn.Module, Overrides]" = weakref.WeakKeyDictionary()


def overrides_of(model: nn.Module) -> Overrides:
    """Return the list of overrides of a model, the same one each time."""
    found = _lists.get(model)
    if found is None:
        itself = weakref.ref(model)
        found = _lists[model] = Overrides(model, Layers(model, lambda: known_bindings(itself())))
    return found
