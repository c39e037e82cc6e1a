"""The token and expert that the model stands at, as ``$0`` has them."""

from typing import TYPE_CHECKING, Any

import numpy as np

from moedesk.probe.console.selected_place import Array
from moedesk.probe.console.selected_token import SelectedToken

if TYPE_CHECKING:
    from moedesk.probe.breaking.stop import Stop


class SelectedStop(SelectedToken):
    """A token at one layer of the pass that is stopped; its arrays have one row."""

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


def describe_stop(stop: "Stop") -> tuple[dict[str, Any], dict[str, Array]]:
    """Return fields and arrays of a ``SelectedStop``."""
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
