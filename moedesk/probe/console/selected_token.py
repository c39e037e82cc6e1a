"""A token that was clicked in the app, with the experts it went to."""

import numpy as np

from moedesk.probe.console.selected_place import Array, Selected


class SelectedToken(Selected):
    """A token in one pass."""

    @property
    def token(self) -> int:
        """Its row in the tokens of its stream."""
        return self._int("token")

    @property
    def text(self) -> str:
        """Its text."""
        return str(self.fields.get("text", ""))

    @property
    def ids(self) -> Array | None:
        """(n,) ids of the tokens that it saw, itself the last; None if some of them were not recorded."""
        return self.arrays.get("ids")

    @property
    def after(self) -> Array | None:
        """(m,) ids of the tokens behind it that an encoder read with it; None of other streams, or if not recorded."""
        return self.arrays.get("after")

    @property
    def source(self) -> Array | None:
        """(s,) ids of what the encoder read for a token of the decoder; None of other streams, or if not known."""
        return self.arrays.get("source")

    @property
    def next_id(self) -> int | None:
        """Id of the token that came next; None if none did."""
        return self.fields.get("next_id")

    @property
    def layers(self) -> Array | None:
        """(L,) places of the layers of its stream; rows of the arrays below."""
        return self.arrays.get("layers")

    @property
    def experts(self) -> Array | None:
        """(L, k) experts it went to at each layer, in slot order; -1 where there was none."""
        return self.arrays.get("experts")

    @property
    def weights(self) -> Array | None:
        """(L, k) float32 gate weights, as the experts received them."""
        return self.arrays.get("weights")

    @property
    def margin(self) -> Array | None:
        """(L,) score of rank k minus that of rank k+1, in the score the router ranks by; NaN where unknown."""
        return self.arrays.get("margin")

    @property
    def entropy(self) -> Array | None:
        """(L,) entropy of softmax(logits) over all experts, in nats; NaN where unknown."""
        return self.arrays.get("entropy")

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return f"token {self.token} {self.text!r} · pass {self.fields.get('pass_id', '?')}"

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Names and values of its repr."""
        rows = super().rows
        names = ("sequence", "position", "token_id")
        known = [f"{name.replace('_', ' ')} {self.fields[name]}" for name in names if name in self.fields]
        if known:
            rows.append(("place", " · ".join(known)))
        if self.experts is None:
            return rows
        places = range(len(self.experts)) if self.layers is None else self.layers
        for row, place in list(enumerate(places))[:12]:
            rows.append((f"layer {place}", self._route(row)))
        if len(self.experts) > 12:
            rows.append(("…", f"{len(self.experts) - 12} more layers in .experts and .weights"))
        return rows

    def _route(self, row: int) -> str:
        assert self.experts is not None
        weights = np.full(self.experts.shape[1], np.nan) if self.weights is None else self.weights[row]
        parts = [
            f"{expert} × {weight:.3f}" if np.isfinite(weight) else f"{expert}"
            for expert, weight in zip(self.experts[row].tolist(), weights.tolist(), strict=True)
            if expert >= 0
        ]
        margin = "" if self.margin is None or not np.isfinite(self.margin[row]) else f" · margin {self.margin[row]:.3g}"
        return (", ".join(parts) or "no expert") + margin
