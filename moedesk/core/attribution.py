"""Why a token went where it went, and what that did: results that are shown, sent and stored in captures. No model is needed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from moedesk.core.attribution_text import attribution_table
from moedesk.core.routes_text import routes_table
from moedesk.core.why_text import why_table

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def _floats() -> Floats:
    return np.zeros(0)


def _float_table() -> Floats:
    return np.zeros((0, 0))


def _float_tables() -> Floats:
    return np.zeros((0, 0, 0))


def _ints() -> Ints:
    return np.zeros(0, np.int64)


def _int_table() -> Ints:
    return np.zeros((0, 0), np.int64)


def _int_tables() -> Ints:
    return np.zeros((0, 0, 0), np.int64)


def _flags() -> Flags:
    return np.zeros(0, np.bool_)


@dataclass(frozen=True)
class TokenPlace:
    """The token that is explained, and where it lies in a capture if it lies in one; -1 is unknown.

    Attributes
    ----------
    text : str
    token_id : int
    index : int
        Its place in the sequence that was run to explain it, from 0.
    sequence, position, column : int
        As in ``columns.TOKEN``.
    row : int
        Of the tokens of its stream.
    pass_id : int
    stream : str
    """

    text: str = ""
    token_id: int = -1
    index: int = -1
    sequence: int = -1
    position: int = -1
    column: int = -1
    row: int = -1
    pass_id: int = -1
    stream: str = ""


@dataclass(frozen=True)
class Component:
    """One of the terms that add up to the residual stream, or to what is made of it.

    Attributes
    ----------
    name : str
        As shown: ``embedding``, ``attention 0``, ``MoE 3``, ``MLP 0``, ``mixer 2``, ``bias``.
    kind : str
        ``embedding``, ``attention``, ``mixer``, ``mlp``, ``moe``, ``shared``, ``constant`` or ``other``.
    path : str
        Module whose output it is; empty for none.
    block : int
        Number of the decoder layer it is in; -1 outside of them.
    """

    name: str
    kind: str = "other"
    path: str = ""
    block: int = -1


@dataclass(frozen=True, eq=False, repr=False)
class Why:
    """Why a token went to its experts at one layer: what the router ranked, and what its logits are made of.

    ``contributions.sum(0) + remainder`` is ``explained``: the router's dot product, which is the logit unless ``notes`` say
    what comes after it.

    Attributes
    ----------
    token : TokenPlace
    layer : int
        Place among the model's MoE layers.
    path : str
        Of its block.
    score : str
        What the router ranks by, as in ``LayerInfo.score``.
    logits : (E,) float64
        As the model computed them.
    transformed : (E,) float64
        The router's transform of them: softmax, sigmoid, …; NaN where it is unknown, as in the next ones.
    bias : (E,) float64
        Added to it for the ranking; 0 if there is none.
    kept : (E,) bool
        Whether the expert was a candidate: in one of the groups that were chosen first. All are where there are no groups.
    ranked : (E,) float64
        The score that was ranked; -inf (0 in some families) in groups that were not kept.
    chosen : (k,) int64
        Ids as the experts received them, in slot order; -1 for a dropped slot.
    weights : (k,) float64
        Gate weights as the experts received them.
    runner_up : int
        The expert that just missed; -1 where there is none.
    margin : float
        Lowest ranked score chosen minus the runner-up's; NaN where unknown.
    components : tuple of Component
        C of them, in the order in which the forward adds them.
    experts : (X,) int64
        Experts whose dot product is split: all, or those asked for.
    explained : (X,) float64
        What is split: the router's dot product.
    contributions : (C, X) float64
        Of each component to it, with every norm's scale frozen at this token.
    remainder, tolerance : (X,) float64
        ``explained`` minus the sum of the contributions, and the most that rounding explains of it.
    model, dtype, created : str
        Class of the model, dtype in which it ran, time in ISO 8601, UTC.
    notes : tuple of str
        Conventions, and what is special, a line each.
    """

    KIND: ClassVar[str] = "why"

    token: TokenPlace
    layer: int
    path: str = ""
    score: str = ""
    logits: Floats = field(default_factory=_floats)
    transformed: Floats = field(default_factory=_floats)
    bias: Floats = field(default_factory=_floats)
    kept: Flags = field(default_factory=_flags)
    ranked: Floats = field(default_factory=_floats)
    chosen: Ints = field(default_factory=_ints)
    weights: Floats = field(default_factory=_floats)
    runner_up: int = -1
    margin: float = nan
    components: tuple[Component, ...] = ()
    experts: Ints = field(default_factory=_ints)
    explained: Floats = field(default_factory=_floats)
    contributions: Floats = field(default_factory=_float_table)
    remainder: Floats = field(default_factory=_floats)
    tolerance: Floats = field(default_factory=_floats)
    model: str = ""
    dtype: str = ""
    created: str = ""
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the contributions add up within the tolerance, for every expert."""
        return bool(len(self.remainder) and (np.abs(self.remainder) <= self.tolerance).all())

    @property
    def title(self) -> str:
        """What it is, in one line."""
        return f"why {self.token.text or self.token.token_id!r} at layer {self.layer}"

    def __repr__(self) -> str:
        return why_table(self).text

    def _repr_html_(self) -> str:
        return why_table(self).html


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each expert that a token went to did to a target: a logit or log-probability at that token.

    Arrays by layer and slot have a row for each of L layers and k columns; NaN (ids: -1) where there is no such slot, or
    nothing was computed.

    Attributes
    ----------
    token : TokenPlace
    target_id : int
    target_text : str
        The token whose logit or log-probability is explained.
    target : str
        ``logit`` or ``log-probability``.
    method : str
        What ``explained`` is the sum of: ``direct``, ``gradient``, ``ablation``, or ``norm`` for nothing.
    layers : (L,) int64
        Places.
    experts : (L, k) int64
    weights : (L, k) float64
        Gate weights as the experts received them.
    norms : (L, k) float64
        ‖w·f(x)‖₂ of what the slot adds to its block's output.
    direct : (L, k) float64
        Its direct logit attribution, with the final norm's scale frozen.
    gradient : (L, k) float64
        Gradient of the target × w·f(x).
    ablation : (L, k) float64
        Target minus the target without the slot.
    components : tuple of Component
        All else that is added to the stream: embedding, attentions, dense MLPs, shared experts.
    component_norms, component_direct, component_gradient : (C,) float64
    gradient_norms : (L,) float64
        ‖∂target/∂(the block's output at this token)‖₂.
    attention : (A, heads, T) float64
        Attention weights of the token over the T tokens up to it, where the model gives them; empty if not.
    attention_blocks : (A,) int64
        Numbers of the decoder layers they are of.
    stream_gradient_norms : (B,) float64
        ‖∂target/∂stream‖₂ at this token, as each decoder layer receives it.
    embedding_gradient_norms : (T,) float64
        ‖∂target/∂embedding‖₂ of each token up to it.
    sum_errors, sum_tolerances : (L,) float64
        Largest difference between the slots' sum (with shared experts) and the block's output, or its experts' where what follows
        them is not linear, relative to the largest values that add up; and how much of it rounding explains.
    noise : float
        Largest difference between equal runs, which the ablation effects can't be told from; NaN without ablation.
    value : float
        The target, as the model computed it.
    logit : float
        The target token's logit, as the model computed it.
    explained : float
        What the contributions of slots and components add up to; NaN with ``norm``.
    tolerance : float
        The most of ``residual`` that rounding explains; NaN where the method need not add up, which only ``direct`` does.
    model, dtype, created : str
    notes : tuple of str
        Conventions, and what is special, a line each.
    """

    KIND: ClassVar[str] = "attribution"

    token: TokenPlace
    target_id: int = -1
    target_text: str = ""
    target: str = "logit"
    method: str = ""
    layers: Ints = field(default_factory=_ints)
    experts: Ints = field(default_factory=_int_table)
    weights: Floats = field(default_factory=_float_table)
    norms: Floats = field(default_factory=_float_table)
    direct: Floats = field(default_factory=_float_table)
    gradient: Floats = field(default_factory=_float_table)
    ablation: Floats = field(default_factory=_float_table)
    components: tuple[Component, ...] = ()
    component_norms: Floats = field(default_factory=_floats)
    component_direct: Floats = field(default_factory=_floats)
    component_gradient: Floats = field(default_factory=_floats)
    gradient_norms: Floats = field(default_factory=_floats)
    attention: Floats = field(default_factory=_float_tables)
    attention_blocks: Ints = field(default_factory=_ints)
    stream_gradient_norms: Floats = field(default_factory=_floats)
    embedding_gradient_norms: Floats = field(default_factory=_floats)
    sum_errors: Floats = field(default_factory=_floats)
    sum_tolerances: Floats = field(default_factory=_floats)
    noise: float = nan
    value: float = nan
    logit: float = nan
    explained: float = nan
    tolerance: float = nan
    model: str = ""
    dtype: str = ""
    created: str = ""
    notes: tuple[str, ...] = ()

    @property
    def residual(self) -> float:
        """What the contributions leave of the target; direct ones are of the logit, whatever the target."""
        return (self.logit if self.method == "direct" else self.value) - self.explained

    @property
    def complete(self) -> bool:
        """Whether they add up within the tolerance."""
        return bool(abs(self.residual) <= self.tolerance)

    def effect(self, layer: int, expert: int) -> float:
        """Return the ablation effect of an expert at a layer, by its place: exactly 0 if the token did not go to it."""
        rows = np.flatnonzero(self.layers == layer)
        if not len(rows):
            return nan
        chosen = self.experts[rows[0]] == expert
        return float(self.ablation[rows[0]][chosen].sum()) if chosen.any() else 0.0

    @property
    def title(self) -> str:
        """What it is, in one line."""
        return (
            f"{self.target} of {self.target_text or self.target_id!r} after {self.token.text or self.token.token_id!r}"
        )

    def __repr__(self) -> str:
        return attribution_table(self).text

    def _repr_html_(self) -> str:
        return attribution_table(self).html


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """What other routes of a token do to the loss of the token that comes next: R routes, the router's own among them.

    Attributes
    ----------
    token : TokenPlace
    next_id : int
    next_text : str
        The token whose loss it is.
    layers : (R,) int64
        Place at which each route was tried.
    experts : (R, k) int64
        Ids of the route, in slot order; -1 for no expert.
    weights : (R, k) float64
        Gate weights that the experts received.
    own : (R,) bool
        Whether it is the router's choice.
    losses : (R,) float64
        -log-probability of the next token, in nats.
    tried_layers : (M,) int64
        Each layer once.
    ranks : (M,) int64
        Place of the router's choice at that layer among its routes by their loss, from 0, the best.
    whole_experts : (W, M, k) int64
        Whole routes, sampled: experts at each of the tried layers at once.
    whole_losses : (W,) float64
        Of these.
    noise : float
        Largest difference between equal runs: losses that are nearer than that can't be told apart.
    model, dtype, created : str
    notes : tuple of str
    """

    KIND: ClassVar[str] = "counterfactual"

    token: TokenPlace
    next_id: int = -1
    next_text: str = ""
    layers: Ints = field(default_factory=_ints)
    experts: Ints = field(default_factory=_int_table)
    weights: Floats = field(default_factory=_float_table)
    own: Flags = field(default_factory=_flags)
    losses: Floats = field(default_factory=_floats)
    tried_layers: Ints = field(default_factory=_ints)
    ranks: Ints = field(default_factory=_ints)
    whole_experts: Ints = field(default_factory=_int_tables)
    whole_losses: Floats = field(default_factory=_floats)
    noise: float = nan
    model: str = ""
    dtype: str = ""
    created: str = ""
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What it is, in one line."""
        where = f"layer {self.tried_layers[0]}" if len(self.tried_layers) == 1 else f"{len(self.tried_layers)} layers"
        return f"other routes of {self.token.text or self.token.token_id!r} at {where}"

    @property
    def loss(self) -> float:
        """Of the router's choice, in nats; NaN if nothing was tried."""
        own = self.losses[self.own]
        return float(own[0]) if len(own) else nan

    @property
    def regrets(self) -> Floats:
        """(M,) loss of the router's choice minus that of the best route tried at each layer, in nats; 0 where it is the best."""
        best = [self.losses[self.layers == layer].min() for layer in self.tried_layers.tolist()]
        return np.maximum(0.0, self.loss - np.array(best))

    def __repr__(self) -> str:
        return routes_table(self).text

    def _repr_html_(self) -> str:
        return routes_table(self).html


Explanation = Why | Attribution | Counterfactual
KINDS: Mapping[str, type[Explanation]] = {kind.KIND: kind for kind in (Why, Attribution, Counterfactual)}
