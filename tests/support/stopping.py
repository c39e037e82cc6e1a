"""A model with breakpoints, and an app that answers each stop with an order."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

import moedesk
from moedesk.analysis.search import matching_tokens
from moedesk.capture.writer import CaptureWriter
from moedesk.core.breakpoint import Breakpoint
from moedesk.core.filter import parse
from moedesk.probe.attach import Attachment, attach
from moedesk.probe.breaking.breakpoints import Breakpoints
from moedesk.probe.breaking.placed import PlacedBreakpoint
from moedesk.probe.taking.vocabulary import Vocabulary
from tests.support.gathered import Gathered

TEXTS = ["def add(a, b):\n    return", "Berlin is the capital of"]


class PlayedApp:
    """Keeps what is told; at each stop does what the test wants, then lets the model go on.

    Attributes
    ----------
    stops : list
        Values of the topic ``stopped``, without those that say that it is over.
    orders : list of str
        What to answer the next stops with; ``resume`` when there are no more.
    at_stop : function or None
        Takes the breakpoints and what was told, in the model's thread, while it stands.
    """

    def __init__(self, namespace: dict[str, Any] | None = None) -> None:
        self.namespace: dict[str, Any] = {} if namespace is None else namespace
        self.connected = 1
        self.stops: list[Mapping[str, Any]] = []
        self.told: dict[str, Mapping[str, Any]] = {}
        self.orders: list[str] = []
        self.at_stop: Callable[[Breakpoints, Mapping[str, Any]], None] | None = None
        self.breakpoints = Breakpoints(self.namespace, lambda: self.connected, self.tell)

    def tell(self, topic: str, value: Mapping[str, Any], stream: int | None) -> None:
        self.told[topic] = value
        if topic == "stopped" and value:
            self.stops.append(value)
            if self.at_stop is not None:
                self.at_stop(self.breakpoints, value)
            self.breakpoints.go_on({"do": self.orders.pop(0) if self.orders else "resume"})

    def break_on(self, text: str, log: str = "", condition: str = "", ignore: int = 0) -> PlacedBreakpoint:
        return self.breakpoints.add(Breakpoint(text, log, condition, ignore))

    @property
    def places(self) -> list[tuple[int, int, int]]:
        """Pass, layer and row of each stop."""
        return [(stop["pass"], stop["layer"], stop["token"]["row"]) for stop in self.stops]


@contextmanager
def attached_to(
    app: PlayedApp, model: nn.Module, tokenizer: Any = None, path: Path | None = None, **options: Any
) -> Iterator[tuple[Attachment, Gathered]]:
    """A model that is attached, with the app's breakpoints; recorded in a capture at ``path`` if one is given."""
    gathered = Gathered()
    sink = gathered if path is None else CaptureWriter(path, vocabulary=Vocabulary.of(tokenizer, model))
    attachment = attach(model, tokenizer, sink=sink, **options)
    app.breakpoints.attach(attachment)
    try:
        yield attachment, gathered
    finally:
        attachment.detach()


def hooks_on(model: nn.Module) -> int:
    """How many hooks are on a model."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def batch_of(tokenizer: Any, texts: list[str] = TEXTS) -> dict[str, Tensor]:
    """The inputs of several texts, padded on the left."""
    return dict(tokenizer(texts, return_tensors="pt", padding=True, padding_side="left"))


def found_in(path: Path, text: str, since: int = 1) -> set[tuple[int, int, int]]:
    """Pass, layer and row in its pass of each event that a filter finds in a capture."""
    store, events = moedesk.open(path), set()
    for layer in store.model.layers:
        tokens = store.read_tokens(stream=layer.stream)
        for row in np.flatnonzero(matching_tokens(store, parse(text), layer, 0, len(tokens)).rows).tolist():
            number = int(tokens["pass"][row])
            if number >= since:
                events.add((number, layer.place, row - store.token_span(number, number + 1, layer.stream)[0]))
    return events
