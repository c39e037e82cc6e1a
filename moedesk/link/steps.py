"""A ``TrainingStep`` as a message: the experts of all layers one after the other."""

import numpy as np

from moedesk.core.columns import STEP
from moedesk.core.training import LayerNorms, TrainingStep
from moedesk.link.message import Frames, Message, encode, whole
from moedesk.link.protocol import LinkError


def encode_step(stream: int, step: TrainingStep) -> Frames:
    """Make frames of a training step; its arrays must not change afterwards."""
    parts = [whole("row", np.asarray(step.row))]
    experts = [len(norms.gradients) for norms in step.layers]
    if step.layers:
        for name in ("gradients", "outputs"):
            pieces = [np.asarray(getattr(norms, name), np.float32) for norms in step.layers]
            parts.append(whole(name, np.concatenate(pieces)))
        singles = {name: [getattr(norms, name) for norms in step.layers] for name in ("router", "shared")}
        parts += [whole(name, np.array(values, np.float32)) for name, values in singles.items()]
    fields = {"stream": stream, "layers": [norms.layer for norms in step.layers], "experts": experts}
    return encode("stepped", fields, parts)


def decode_step(message: Message) -> TrainingStep:
    """Make the training step of a message; its arrays are read-only and stay valid.

    Raises
    ------
    LinkError
        The arrays are not those of a training step.
    """
    row = message.arrays.get("row")
    if row is None or row.dtype != STEP or row.shape != ():
        raise LinkError("a training step without a row")
    places, experts = message.fields["layers"], message.fields["experts"]
    numbers = [*places, *experts]
    if len(places) != len(experts) or not all(type(number) is int and 0 <= number <= 1 << 20 for number in numbers):
        raise LinkError("a training step with layers that are none")
    if not places:
        return TrainingStep(row)
    shapes = {"gradients": sum(experts), "outputs": sum(experts), "router": len(places), "shared": len(places)}
    arrays = {name: message.arrays.get(name) for name in shapes}
    for name, array in arrays.items():
        if array is None or array.dtype != np.float32 or array.shape != (shapes[name],):
            raise LinkError(f"a training step with {name} of a wrong shape or type")
    ends = np.cumsum(experts)[:-1]
    gradients, outputs = (np.split(arrays[name], ends) for name in ("gradients", "outputs"))  # type: ignore[arg-type]
    singles = (arrays[name].tolist() for name in ("router", "shared"))  # type: ignore[union-attr]
    return TrainingStep(row, tuple(map(LayerNorms, places, gradients, outputs, *singles)))
