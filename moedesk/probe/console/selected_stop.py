"""The token and expert that the model stands at, as ``$0`` has them."""

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from moedesk.probe.console.selected_place import Array
from moedesk.probe.console.selected_token import SelectedToken

if TYPE_CHECKING:
    from torch import nn

    from moedesk.probe.breaking.stop import Stop
    from moedesk.probe.console.moe import Moe


class SelectedStop(SelectedToken):
    """A token at one layer of the pass that is stopped; its arrays have one row.

    Attributes
    ----------
    of : function
        Gives the model that stands, as long as it lives; it may be another one than ``moe``'s.
    """

    of: "Callable[[], nn.Module | None]" = staticmethod(lambda: None)

    @property
    def _model(self) -> "nn.Module | None":
        return self.of()

    @property
    def layer(self) -> int:
        """Place of the layer among the model's MoE layers."""
        return self._int("layer")

    @property
    def expert(self) -> int:
        """The expert that is pointed out; -1 if there is none."""
        return self._int("expert")

    @property
    def module_path(self) -> str | None:
        """Path of the layer's block."""
        return str(self.fields["path"])

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        where = f"{self.layer}.{self.expert}" if self.expert >= 0 else str(self.layer)
        return f"stop at {where} · token {self.text!r} · pass {self.fields['pass_id']}"


def selected_stop(moe: "Moe", stop: "Stop") -> SelectedStop:
    """Return where the model stands, as ``$0``."""
    selected = SelectedStop(moe, *_described(stop))
    selected.of = weakref.ref(stop.arrival.under_way.model)
    return selected


def _described(stop: "Stop") -> tuple[dict[str, Any], dict[str, Array]]:
    layer, values = stop.arrival.layer, stop.fields()
    fields = {
        "kind": "stop",
        "layer": layer.place,
        "expert": -1 if stop.expert is None else stop.expert,
        "path": layer.path,
        "router_path": layer.router_path,
        "experts_path": layer.experts_path,
        "stream": layer.stream,
        "pass_id": stop.arrival.under_way.number,
        "text": values["token"],
        "sequence": values["sequence"],
        "position": values["position"],
        "token_id": values["id"],
    }
    arrays = {
        "layers": np.array([layer.place], np.int32),
        "experts": np.array([values["ids"]], np.int32),
        "weights": np.array([values["weights"]], np.float32),
        "margin": np.array([values["margin"]], np.float32),
        "entropy": np.array([values["entropy"]], np.float32),
    }
    return fields, arrays
