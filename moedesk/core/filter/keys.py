"""The keys of the filter language: what each takes and what it asks about."""

from dataclasses import dataclass
from typing import Literal

from moedesk.core.columns import PassFlag, Phase, RouteFlag

Scope = Literal["pass", "layer", "token", "event", "slot"]
Takes = Literal["integer", "number", "phase", "flag", "text", "name"]


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes
    ----------
    name : str
    takes : {"integer", "number", "phase", "flag", "text", "name"}
        What its value is.
    scope : {"pass", "layer", "token", "event", "slot"}
        What it asks about; ``is`` has the scope of its flag.
    hint : str
        One line for the completion.
    """

    name: str
    takes: Takes
    scope: Scope
    hint: str


KEYS = {
    key.name: key
    for key in (
        Key(
            "layer",
            "integer",
            "layer",
            "an MoE layer by its place or module path: layer:3, layer:3..7, layer:model.layers.3",
        ),
        Key("expert", "integer", "slot", "the number of an expert that the token went to: expert:37, expert:1,5"),
        Key("token", "text", "token", 'token text: token:def, token:" def" (exactly), token:/regex/'),
        Key(
            "label",
            "name",
            "token",
            'what passes or tokens were labelled as: label:python, label:c,html, label:"two words"',
        ),
        Key("phase", "phase", "pass", "what the pass was for: prefill, decode, train, eval"),
        Key(
            "is",
            "flag",
            "event",
            "what is special: dropped, overridden, padding, absent, nonfinite, failed, countsonly, rewound, spared",
        ),
        Key("entropy", "number", "event", "the entropy of the router's softmax in nats: entropy>1.5"),
        Key("margin", "number", "event", "the score of rank k minus rank k+1: margin<0.01"),
        Key("weight", "number", "slot", "the weight the expert's output is multiplied by: weight>=0.3"),
        Key(
            "load",
            "number",
            "slot",
            "the slots that the expert received in the pass, as a multiple of its fair share 1/E: load>2",
        ),
        Key("pass", "integer", "pass", "a pass number: pass:10..20"),
        Key("sequence", "integer", "token", "a sequence number: sequence:3"),
        Key("position", "integer", "token", "a position in the sequence: position<10"),
        Key("id", "integer", "token", "a token id: id:123"),
    )
}

PHASES = tuple(phase.label for phase in Phase)

ROUTE_FLAGS = {
    "dropped": RouteFlag.DROPPED,
    "overridden": RouteFlag.OVERRIDDEN,
    "absent": RouteFlag.ABSENT,
    "nonfinite": RouteFlag.NONFINITE,
}
PASS_FLAGS = {
    "failed": PassFlag.FAILED,
    "countsonly": PassFlag.COUNTS_ONLY,
    "rewound": PassFlag.REWOUND,
    "spared": PassFlag.SPARED,
}
FLAG_HINTS = {
    "dropped": "a slot lost its expert to the capacity limit",
    "overridden": "an override changed the choice",
    "padding": "padding tokens",
    "absent": "the layer did not see the token",
    "nonfinite": "a weight or logit is NaN or infinite",
    "failed": "the forward raised an error",
    "countsonly": "only counts were kept of the pass",
    "rewound": "the KV cache went back before the pass: drafts were rejected",
    "spared": "entropy and margin were given up: the model ran too fast",
}
FLAGS = tuple(FLAG_HINTS)
