"""What is inspected: a model, its modules, and its Mixture-of-Experts layers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan

from moedesk.core.errors import MoedeskError
from moedesk.core.verification import Verification

WATCHED = "watched block"
"""``LayerInfo.adapter`` of blocks that nobody declared: what their experts do and they calculate is watched."""


@dataclass(frozen=True)
class LayerInfo:
    """One Mixture-of-Experts layer.

    Attributes
    ----------
    path : str
        Module path of the block that holds router and experts, e.g. ``model.layers.3.mlp``.
    block : str
        Class name of that block.
    experts : int
        Number of routed experts E, those included that never run.
    top_k : int
        Slots per token.
    shared : int
        Number of shared experts that every token passes; 0 for none.
    score : str
        What the router ranks by: ``softmax``, ``sigmoid``, ``sigmoid+bias``, ``sigmoid+bias, 4 of 8 groups``, ``logits``, or
        ``unknown`` (then no margin is recorded).
    stream : str
        The token stream it works on: ``main``, or ``encoder`` and ``decoder``, or ``vision``.
    post_scale : float
        Factor that the block applies after its experts, measured; NaN where what follows is not linear or wasn't measured.
    router_path, experts_path : str
        Module paths of router and experts; an empty router path if the routing has no module of its own.
    place : int
        Place in ``ModelInfo.layers``.
    adapter : str
        Name of the adapter that reads it; empty for the generic rule.
    selection : str
        ``token choice``; ``expert choice`` (each expert picks its tokens); ``soft`` (every token goes to all experts, by weight);
        ``hash`` (a table of token ids); ``given`` (the caller says which).
    identity : int
        How many of the experts, the last ones, return their input unchanged.
    """

    path: str
    block: str
    experts: int
    top_k: int
    shared: int = 0
    score: str = "unknown"
    stream: str = "main"
    post_scale: float = nan
    router_path: str = ""
    experts_path: str = ""
    place: int = 0
    adapter: str = ""
    selection: str = "token choice"
    identity: int = 0


@dataclass(frozen=True)
class ModuleInfo:
    """One module of the tree, in the order of ``named_modules``.

    Attributes
    ----------
    path : str
        Full path; empty for the model itself.
    name : str
        Last part of the path, or the class name for the model itself.
    parent : int
        Place of the parent in ``ModelInfo.modules``; -1 for the model itself.
    kind : str
        ``moe``, ``router``, ``experts``, ``expert``, ``shared``, ``attention``, ``norm``, ``embedding``, ``linear``
        or ``module``.
    layer : int
        Place of the MoE layer it belongs to, or -1.
    own_parameters, parameters : int
        Parameters held directly, and with everything below (shared ones counted once).
    dtype, device : str
        Of its parameters (``mixed`` if they differ); empty without parameters.
    shapes : str
        Its own parameters, e.g. ``weight 16×128``.
    """

    path: str
    name: str
    class_name: str
    parent: int
    kind: str = "module"
    layer: int = -1
    own_parameters: int = 0
    parameters: int = 0
    dtype: str = ""
    device: str = ""
    shapes: str = ""


@dataclass(frozen=True)
class ModelInfo:
    """The model behind a capture.

    Attributes
    ----------
    name : str
        Name or path it was loaded from, else its class name.
    class_name, dtype, device : str
    parameters : int
        Parameters in all.
    layers : tuple of LayerInfo
    modules : tuple of ModuleInfo
    config : mapping
        The model's configuration as plain JSON values.
    tokenizer : str
        Name of the tokenizer, empty without one.
    versions : mapping
        Packages and versions it ran on.
    verification : Verification or None
        What the exactness self-test found; None if it was never run.
    """

    name: str
    class_name: str
    layers: tuple[LayerInfo, ...] = ()
    modules: tuple[ModuleInfo, ...] = ()
    dtype: str = ""
    device: str = ""
    parameters: int = 0
    config: Mapping[str, object] = field(default_factory=dict)
    tokenizer: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    verification: Verification | None = None

    def layer(self, layer: "LayerInfo | str | int") -> LayerInfo:
        """Find a layer by itself, its path, or its place in ``layers`` (negative counts from the end).

        Raises
        ------
        MoedeskError
            If there is no such layer.
        """
        if isinstance(layer, LayerInfo):
            return layer
        if isinstance(layer, str):
            for candidate in self.layers:
                if candidate.path == layer:
                    return candidate
            raise MoedeskError(f"no MoE layer {layer!r}; the model has {self._layer_hint()}")
        try:
            return self.layers[layer]
        except IndexError:
            raise MoedeskError(f"no MoE layer {layer}; the model has {self._layer_hint()}") from None

    def _layer_hint(self) -> str:
        if not self.layers:
            return "no MoE layers"
        return f"{len(self.layers)}: {self.layers[0].path} … {self.layers[-1].path}"

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the token streams, the main one (what ``cap.tokens`` shows) first."""
        names = dict.fromkeys(layer.stream for layer in self.layers)
        return tuple(sorted(names, key=lambda name: (name not in ("main", "decoder"), name)))
