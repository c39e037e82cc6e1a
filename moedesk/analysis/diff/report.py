"""The routing difference of two captures, summed up."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from moedesk.analysis.chunks import Ticket
from moedesk.analysis.diff.gather import StreamDiff, gather
from moedesk.analysis.diff.layer_diff import LayerDiff
from moedesk.analysis.diff.verdict import PRECISION, Judgement, coarser, judge
from moedesk.analysis.spared import spared_passes
from moedesk.core.acted import Acted, first_few
from moedesk.core.errors import MoedeskError
from moedesk.core.store import Store


@dataclass(frozen=True)
class RoutingDiff:
    """How capture B routes the tokens that it shares with capture A.

    Attributes
    ----------
    name_a, name_b : str
    streams : tuple of StreamDiff
    judgement : Judgement
    overrides_a, overrides_b : tuple of Acted
        What acted on any of their passes.
    spared_a, spared_b : int
        Passes of A and of B without margins, since the model ran too fast (``PassFlag.SPARED``).
    """

    name_a: str
    name_b: str
    streams: tuple[StreamDiff, ...]
    judgement: Judgement
    overrides_a: tuple[Acted, ...] = ()
    overrides_b: tuple[Acted, ...] = ()
    spared_a: int = 0
    spared_b: int = 0

    @property
    def layers(self) -> list[LayerDiff]:
        """What differs at each layer, in the model's order."""
        return sorted((layer for stream in self.streams for layer in stream.layers), key=lambda one: one.layer.place)

    @property
    def tokens_aligned(self) -> int:
        """Tokens that both captures have, padding left out."""
        return sum(len(stream.alignment.a) for stream in self.streams)

    @property
    def flip_rate(self) -> float:
        """Share of decisions (token × layer) whose set of experts differs."""
        tokens = sum(layer.tokens for layer in self.layers)
        return sum(layer.flips for layer in self.layers) / tokens if tokens else float("nan")

    @property
    def token_flip_rate(self) -> float:
        """Share of tokens that have another set of experts at any layer."""
        flipped = sum(stream.flipped for stream in self.streams)
        return flipped / self.tokens_aligned if self.tokens_aligned else float("nan")

    @property
    def weight_tv(self) -> float:
        """Mean over decisions of ½ Σ_e |w_A − w_B|."""
        tokens = sum(layer.tokens for layer in self.layers)
        return sum(layer.tv for layer in self.layers) / tokens if tokens else float("nan")

    @property
    def first_divergent(self) -> dict[str, int]:
        """Tokens whose first flip is at a layer, by its path."""
        return {
            layer.layer.path: int(number)
            for stream in self.streams
            for layer, number in zip(stream.layers, stream.first_divergent, strict=True)
        }

    @property
    def left_out(self) -> str:
        """What could not be compared, in one line; empty if nothing."""
        only_a = sum(stream.alignment.only_a for stream in self.streams)
        only_b = sum(stream.alignment.only_b for stream in self.streams)
        edited = sum(stream.alignment.edited for stream in self.streams)
        later = sum(stream.later for stream in self.streams)
        parts = []
        if only_a or only_b:
            parts.append(f"{only_a:,} tokens are only in A and {only_b:,} only in B")
        if edited:
            parts.append(f"the text of {edited:,} sequences differs; what both have is compared")
        if later:
            parts.append(f"{later:,} tokens come after such a difference: they count in the rates, not for the verdict")
        if self.spared:
            parts.append(self.spared)
        return "; ".join(parts)

    @property
    def spared(self) -> str:
        """How many passes have no margins, in one line; empty if all could have."""
        if not self.spared_a and not self.spared_b:
            return ""
        return (
            f"{self.spared_a:,} passes of A and {self.spared_b:,} of B came too fast for margins (is:spared): margins are those "
            "of tokens that have one in both"
        )

    @property
    def overridden(self) -> str:
        """Which overrides acted on the one side and not on the other, or on both, in one line; empty if none did."""
        a, b = (
            {replace(one.override, name=""): one for one in acted} for acted in (self.overrides_a, self.overrides_b)
        )
        alone = (
            ("A", [one.said for key, one in a.items() if key not in b]),
            ("B", [b[key].said for key in b if key not in a]),
        )
        parts = [f"only {side} ran under overrides: {'; '.join(first_few(said))}" for side, said in alone if said]
        both = [f"{one.override.title} (A {one.where}, B {b[key].where})" for key, one in a.items() if key in b]
        return " · ".join([*parts, *([f"both ran under overrides: {'; '.join(first_few(both))}"] if both else [])])

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; fields stay as they are, unknown numbers are null."""
        return {
            "verdict": self.judgement.verdict,
            "reason": self.judgement.reason,
            "evidence": [_plain(one) for one in self.judgement.to_json()],
            "a": self.name_a,
            "b": self.name_b,
            "tokens_aligned": self.tokens_aligned,
            "left_out": self.left_out,
            "overridden": self.overridden,
            "overrides_a": [one.to_json() for one in self.overrides_a],
            "overrides_b": [one.to_json() for one in self.overrides_b],
            **_plain(
                {"flip_rate": self.flip_rate, "token_flip_rate": self.token_flip_rate, "weight_tv": self.weight_tv}
            ),
            "layers": [_plain(_layer(layer)) for layer in self.layers],
            "first_divergent": self.first_divergent,
        }


def diff(a: Store, b: Store, precision: str | None = None, ticket: Ticket | None = None) -> RoutingDiff:
    """Compare the routing of two captures.

    Parameters
    ----------
    precision : str or None
        What they computed in, a key of ``verdict.PRECISION``; None for the coarser of the models' dtypes.

    Raises
    ------
    MoedeskError
        If they have no layer or token in common, layers with other numbers of experts, or the precision is unknown.
    """
    if precision is not None and precision not in PRECISION:
        raise MoedeskError(f"no precision {precision!r}; there are {', '.join(PRECISION)}")
    streams = tuple(gather(a, b, ticket))
    layers = sorted((layer for stream in streams for layer in stream.layers), key=lambda one: one.layer.place)
    judgement = judge(layers, precision or coarser(a.model.dtype, b.model.dtype))
    return RoutingDiff(a.name, b.name, streams, judgement, a.overrides, b.overrides, spared_passes(a), spared_passes(b))


def _layer(layer: LayerDiff) -> dict[str, Any]:
    return {
        "path": layer.layer.path,
        "tokens": layer.tokens,
        "flips": layer.flips,
        "flip_rate": layer.flip_rate,
        "slot_mismatch": layer.slot_mismatch,
        "saturation": 1 - layer.slot_mismatch,
        "jaccard": layer.jaccard / layer.tokens if layer.tokens else float("nan"),
        "median_margin_at_flip": layer.median_margin_at_flip,
        "weight_tv": layer.weight_tv,
        "agreed_weight_error": layer.agreed_weight_error,
        "load_tv": layer.load_tv,
        "load_difference": (layer.counts_b - layer.counts_a).tolist(),
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(one, float) and not isfinite(one) else one for name, one in values.items()}
