"""``moe.status()``: what is attached, what was recorded and left out, and what it costs."""

from dataclasses import dataclass, field
from html import escape

from moedesk.core.live import Counters
from moedesk.core.model import ModelInfo
from moedesk.probe.console.connection_file import app_command
from moedesk.probe.console.picture import Picture


@dataclass(frozen=True)
class Status:
    """How a live model stands, at the moment it was asked for.

    Attributes
    ----------
    title : str
        The model, and whether it is attached, paused or only loaded.
    model : ModelInfo or None
        What is attached, from its first pass on.
    counters : Counters
    clients : int
        Apps that receive.
    hint : str
        What to do next, in one line; empty if nothing.
    picture : Picture or None
        Load of every expert since the model was attached.
    verified : str
        What the exactness self-test found, in one line; empty if there is nothing to say.
    """

    title: str
    model: ModelInfo | None = None
    counters: Counters = field(default_factory=Counters)
    clients: int = 0
    hint: str = ""
    picture: Picture | None = None
    verified: str = ""

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Names and values, as shown."""
        counters = self.counters
        rows = [("layers", layers_text(self.model))] if self.model and self.model.layers else []
        rows.append(("passes", f"{counters.passes:,}"))
        if counters.spared:
            rows.append(
                ("spared", f"{counters.spared:,} passes sent without entropy and margin: the model ran too fast")
            )
        if counters.shed or counters.dropped:
            rows.append(("shed", f"{counters.shed:,} passes sent as counts only"))
            rows.append(("dropped", f"{counters.dropped:,} passes not sent: no app, or no room"))
        if counters.hook_ns and counters.pass_ns and counters.passes and self.model and self.model.layers:
            each = counters.hook_ns / counters.passes / len(self.model.layers) / 1000
            share = counters.hook_ns / counters.pass_ns
            rows.append(
                ("hooks", f"{each:.1f} µs a layer and pass · {share:.2%} of the passes' time (set-up included)")
            )
        if self.verified:
            rows.append(("tested", self.verified))
        rows.append(("apps", f"{self.clients} connected" if self.clients else app_command()))
        return rows

    def __repr__(self) -> str:
        lines = [self.title]
        if self.model is not None:
            lines += [f"  {name:<8}{value}" for name, value in self.rows]
        if self.picture:
            lines.append(self.picture.text)
        return "\n".join([*lines, self.hint] if self.hint else lines)

    def _repr_html_(self) -> str:
        parts = [f"<b>{escape(self.title)}</b>"]
        if self.model is not None:
            cells = (
                f'<tr><td style="text-align: left">{name}</td><td style="text-align: left">{escape(value)}</td></tr>'
                for name, value in self.rows
            )
            parts.append(f"<table>{''.join(cells)}</table>")
        if self.picture:
            parts.append(f"{self.picture.html}")
        if self.hint:
            parts.append(f"<div>{escape(self.hint)}</div>")
        return "".join(parts)


def layers_text(model: ModelInfo) -> str:
    """Return layers, experts and top-k in a few words; ranges where layers differ."""
    experts = sorted({layer.experts for layer in model.layers})
    top_k = sorted({layer.top_k for layer in model.layers})
    return f"{len(model.layers)} layers × {_range(experts)} experts, top-{_range(top_k)}"


def _range(values: list[int]) -> str:
    return f"{values[0]}" if values[0] == values[-1] else f"{values[0]}–{values[-1]}"
