"""A model run again on a passage, with its MoE layers found and their routing read; the model is left as it was."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from moedesk.core.batch import LayerRoutes
from moedesk.core.errors import MoedeskError
from moedesk.core.sides import DECODER, ENCODER
from moedesk.probe.attach import known_bindings
from moedesk.probe.exactness.kept import Kept
from moedesk.probe.exactness.sample_input import token_argument
from moedesk.probe.exactness.text_batch import input_device
from moedesk.probe.exactness.untouched import Untouched
from moedesk.probe.explaining.passage import Passage
from moedesk.probe.explaining.sides import GIVE_BOTH, first_of_decoder, side_of
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.discovery import find_candidates
from moedesk.probe.finding.parts import first_tensor
from moedesk.probe.taking.compiled import compiled_parts, nothing, run_uncompiled
from moedesk.probe.taking.parallel import has_spread
from moedesk.probe.tracer import Tracer
from moedesk.probe.wanted import Wanted

Progress = Callable[[float, str], None]
"""Told which share of all is done, and what is done now; it may raise to stop."""


class Rerun:
    """While entered, a model can be run on a passage: in evaluation mode, without gradients, and nothing of it is recorded.

    Overrides are off as well, as all hooks of moedesk's are: what is explained is the model as it is.

    Parameters
    ----------
    model : Module
    passage : Passage

    Attributes
    ----------
    side : str
        Which of an encoder-decoder model's stacks the token runs through, "encoder" or "decoder"; empty for other models.
    bindings : tuple of Binding
        Its MoE layers that the token runs through, in the order of their places; known once it is entered.
    routes : mapping of int to LayerRoutes
        What each did with the passage, by place; a row for each of its tokens.
    output
        What the model returned.
    notes : list of str
        What was left out.

    Raises
    ------
    MoedeskError
        If such a model can't be run on token ids, or is spread over processes.
    """

    def __init__(self, model: nn.Module, passage: Passage) -> None:
        self._attached = known_bindings(model)
        model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
        name = type(model).__name__
        self.model, self.passage = model, passage
        self._names = {p.name for p in inspect.signature(model.forward).parameters.values()}
        self.side = side_of(model, self._names, passage)
        if has_spread(model):
            raise MoedeskError(f"{name} is spread over processes; explain it in one process")
        if any(parameter.is_meta for parameter in model.parameters()):
            raise MoedeskError(
                f"parts of {name} are offloaded, and come only when it runs; explain it loaded as a whole"
            )
        self._argument = token_argument(self._names)
        if not self._argument:
            raise MoedeskError(f"{name} takes no input_ids, so it can't be run on token ids alone")
        size = _embedded(model)
        worst = max(
            int(ids.max()) for ids in (passage.ids, passage.after, passage.source) if ids is not None and len(ids)
        )
        if size is not None and worst >= size:
            raise MoedeskError(
                f"token id {worst:,} is not in the vocabulary of {name}: its ids go from 0 to {size - 1:,}"
            )
        self._candidates = find_candidates(model)
        self.bindings: tuple[Binding, ...] = ()
        self._elsewhere: tuple[Binding, ...] = ()
        self.routes: dict[int, LayerRoutes] = {}
        self.notes: list[str] = []
        self.output: Any = None

    def __enter__(self) -> Self:
        self._untouched = Untouched(self.model)
        self._untouched.__enter__()
        try:
            self._bind()
        except BaseException:
            self._untouched.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._untouched.__exit__(kind, error, trace)

    @property
    def ids(self) -> Tensor:
        """(1, n) token ids of the side on which the token is, where the model takes them."""
        after = self.passage.after if self.side == ENCODER else None
        return self._placed(self.passage.ids if after is None else np.concatenate([self.passage.ids, after]))

    def _placed(self, ids: np.ndarray) -> Tensor:
        return torch.from_numpy(ids).unsqueeze(0).to(input_device(self.model))

    @property
    def row(self) -> int:
        """Of the token among those of its side."""
        return len(self.passage.ids) - 1

    def takes(self, name: str) -> bool:
        """Return whether the model's forward has an argument of this name."""
        return name in self._names

    def run(self, ids: Tensor | None = None, **more: Any) -> Any:
        """Return the model's output for the passage, or for other ids; without a cache unless ``use_cache`` is given."""
        return self._untouched.run({**self.inputs(ids), **more})

    def inputs(self, ids: Tensor | None = None) -> dict[str, Any]:
        """Return the arguments of a forward for the passage, or for other ids, without a cache."""
        ids = self.ids if ids is None else ids
        inputs: dict[str, Any] = {self._argument: ids}
        if self.side == ENCODER:
            inputs["decoder_input_ids"] = self._placed(np.array([first_of_decoder(self.model)]))
        elif self.side == DECODER:
            assert self.passage.source is not None
            source = self._placed(self.passage.source).expand(len(ids), -1)
            inputs = {self._argument: source, "decoder_input_ids": ids}
        config: Any = getattr(self.model, "config", None)
        if self.takes("use_cache") or ("kwargs" in self._names and hasattr(config, "use_cache")):
            inputs["use_cache"] = False
        return inputs

    def _bind(self) -> None:
        kept = Kept()
        tracer = Tracer(self.model, self._candidates, self._candidates, None, Wanted(logits=True), kept)
        try:
            output = self.run()
        except (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise MoedeskError(f"{type(self.model).__name__} can't be run on these tokens alone: {reason}") from error
        finally:
            tracer.stop()
        if tracer.courier.failure is not None:
            raise MoedeskError(f"nothing can be explained: {tracer.courier.failure}")
        places = self._places(tracer.bindings)
        found = sorted((each.placed(places[each.layer.place]) for each in tracer.bindings), key=lambda b: b.layer.place)
        self.bindings, self.notes = tuple(found), list(dict.fromkeys(kept.notes))
        if self.side:
            self.bindings = tuple(each for each in found if each.layer.stream == self.side)
            self._elsewhere = tuple(each for each in found if each.layer.stream != self.side)
            self.notes.insert(0, self._about_sides())
        if not self.bindings:
            raise MoedeskError(f"the {self.side or 'model'} has no MoE layers that its tokens run through")
        routes = (routes for batch in kept.batches[:1] for routes in batch.layers)
        self.routes = {places[each.layer]: replace(each, layer=places[each.layer]) for each in routes}
        self.output = output

    def _places(self, bindings: Sequence[Binding]) -> dict[int, int]:
        """The places that layers have in what the attached model's apps see, by those of this run; others come after them."""
        known = {each.candidate.path: each.layer.place for each in self._attached}
        free = count(1 + max(known.values(), default=-1))
        of_path = {each.candidate.path: each.layer.place for each in bindings}
        return {place: known[path] if path in known else next(free) for path, place in of_path.items()}

    @property
    def logits(self) -> Tensor:
        """(V,) float32 logits of the token that is explained, on the host."""
        return logits_of(self.output, self.model)[0, -1].float().cpu()

    def layers(self, layer: Any) -> tuple[Binding, ...]:
        """Return the layers that are named, by place, path or a list of these; all for None.

        Raises
        ------
        MoedeskError
            If there is no such layer.
        """
        if layer is None:
            return self.bindings
        wanted = [layer] if isinstance(layer, int | np.integer | str) else list(layer)
        return tuple(self._layer(name) for name in dict.fromkeys(wanted))

    def _about_sides(self) -> str:
        if self.side == ENCODER:
            return "the token is one of the encoder, which reads those after it too; the decoder has no part in it"
        assert self.passage.source is not None
        return f"the token is one of the decoder, which reads the encoder's {len(self.passage.source)} as well"

    def _layer(self, name: Any) -> Binding:
        for binding in self.bindings:
            if name in (binding.layer.place, binding.layer.path):
                return binding
        for binding in self._elsewhere:
            if name in (binding.layer.place, binding.layer.path):
                raise MoedeskError(
                    f"layer {binding.layer.place} ({binding.layer.path}) is in the {binding.layer.stream}, and the token is one "
                    f"of the {self.side}; {GIVE_BOTH}"
                )
        first, last = self.bindings[0].layer, self.bindings[-1].layer
        raise MoedeskError(
            f"no MoE layer {name!r}; the model has {len(self.bindings)}: {first.place} ({first.path}) … "
            f"{last.place} ({last.path})"
        )

    def routing(self, binding: Binding) -> tuple[np.ndarray, np.ndarray] | None:
        """Return (k,) int64 ids and (k,) float32 weights of the token at a layer; None if it isn't known."""
        routes = self.routes.get(binding.layer.place)
        if routes is None or routes.experts is None or routes.weights is None or not len(routes.experts):
            return None
        return routes.experts[self.row].astype(np.int64), np.array(routes.weights[self.row], np.float32)


@contextmanager
def as_written(model: nn.Module) -> Iterator[None]:
    """Every operation can be seen: nothing runs compiled, and nothing in inference mode, whose tensors have no graph."""
    compile_again = run_uncompiled() if compiled_parts(model) else nothing
    try:
        with torch.inference_mode(False):
            yield
    finally:
        compile_again()


def moved(rerun: Rerun) -> list[str]:
    """Return a line that says at which layers the token was routed otherwise when it was captured."""
    other = []
    for binding in rerun.bindings:
        captured, here = rerun.passage.routes.get(binding.layer.place), rerun.routing(binding)
        if captured is not None and here is not None and sorted(captured[0].tolist()) != sorted(here[0].tolist()):
            other.append(str(binding.layer.place))
    if not other:
        return []
    where = f"layer{'s' * (len(other) > 1)} {', '.join(other)}"
    return [f"at {where} the token goes to other experts now than when it was captured: explained is what it does now"]


def logits_of(output: Any, model: nn.Module) -> Tensor:
    """Return the (batch, length, V) logits in a model's output.

    Raises
    ------
    MoedeskError
        If it has none.
    """
    found = getattr(output, "logits", None)
    if found is None and isinstance(output, Mapping):
        found = output.get("logits")
    if found is None and not hasattr(output, "last_hidden_state"):
        found = first_tensor(output)
    if not isinstance(found, Tensor) or found.ndim != 3:
        raise MoedeskError(
            f"{type(model).__name__} returns no logits of tokens; load the model with its language-model head"
        )
    return found


def _embedded(model: nn.Module) -> int | None:
    get: Any = getattr(model, "get_input_embeddings", None)
    size = getattr(get() if get is not None else None, "num_embeddings", None)
    return size if isinstance(size, int) else None
