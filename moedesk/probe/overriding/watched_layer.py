"""What is known of a watched block for overrides: how it can be changed, tried in calls of the block alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.exactness.untouched import Untouched
from moedesk.probe.finding.binding import Binding
from moedesk.probe.overriding.act import on_score
from moedesk.probe.overriding.watched_slots import SetSlots, slot_setter
from moedesk.probe.overriding.watched_study import find_watched_way
from moedesk.probe.overriding.watched_trial import FAILURES, BlockTrial, said
from moedesk.probe.overriding.watched_way import WatchedWay
from moedesk.probe.watched.known_plans import remember_plan
from moedesk.probe.watched.watch import experts_of


@dataclass(eq=False)
class WatchedLayer:
    """One watched block.

    Attributes
    ----------
    ways : dict of bool to WatchedWay
        In training, and not in training, as far as known.
    unscored : dict of bool to str
        Why its score can't be changed.
    unknown : str
        Why nothing can, in evaluation.
    trial : BlockTrial or None
    set_slots : function or None
        What gives it another number of slots, once that was tried.
    """

    ways: dict[bool, WatchedWay] = field(default_factory=dict)
    unscored: dict[bool, str] = field(default_factory=dict)
    unknown: str = "a small batch of token ids doesn't reach it"
    trial: BlockTrial | None = None
    set_slots: SetSlots | None = None

    @property
    def way(self) -> WatchedWay:
        """How it can be changed in evaluation.

        Raises
        ------
        MoedeskError
            If it can't.
        """
        if False not in self.ways:
            raise MoedeskError(self.unknown)
        return self.ways[False]

    def try_slots(self, model: nn.Module, number: int) -> None:
        """Run the block alone with another number of slots.

        Raises
        ------
        MoedeskError
            If they don't come out, in a few words.
        """
        score = self.way.score
        assert self.trial is not None
        with Untouched(model):
            self.set_slots = slot_setter(self.trial.binding, self.trial, score, number)

    def check(self, override: Override) -> None:
        """Raise ``MoedeskError``, in a few words, if an override can't be done."""
        way, kind = self.way, override.kind
        if on_score(override):
            if way.score is None:
                raise MoedeskError(self.unscored[False])
            if kind in (OverrideKind.FORCE, OverrideKind.REPLAY) and not way.score.choosable:
                raise MoedeskError("its experts are the best of no ranking, so that none can be put in their place")
        elif way.weights is None and kind not in (OverrideKind.ABLATE, OverrideKind.SCALE):
            raise MoedeskError("what its experts return can be changed, but not which tokens they get, nor the weights")
        elif way.weights is None and override.columns:
            raise MoedeskError("what its experts return can be changed for all tokens only; leave columns= out")
        elif kind in (OverrideKind.SWAP, OverrideKind.REPLAY) and not way.moves:
            raise MoedeskError("its weights can be changed, but tokens don't go to other experts when its ids say so")


def by_watching(binding: Binding) -> bool:
    """Whether nothing says how a layer's routing is changed, but its experts are modules, so that it can be found out."""
    adapter = binding.adapter
    if adapter is None or adapter.write is not None or adapter.weighs != "outputs":
        return False
    try:
        return len(experts_of(binding.candidate.experts)) == binding.layer.experts
    except MoedeskError:
        return False


class WatchedLayers:
    """The watched blocks of a model, each studied when it is first asked for; the model is left as it was.

    Parameters
    ----------
    model : Module
    inputs : mapping
        Arguments of its forward.
    bindings : sequence of Binding
        Those for which ``by_watching`` is true.
    """

    def __init__(self, model: nn.Module, inputs: Mapping[str, Any], bindings: Sequence[Binding]) -> None:
        self._trials = _first_calls(model, inputs, bindings)
        self._known: dict[str, WatchedLayer] = {}

    def knows(self, binding: Binding) -> bool:
        """Return whether a layer was studied."""
        return binding.candidate.path in self._known

    def layer(self, model: nn.Module, binding: Binding) -> WatchedLayer:
        """Return what is known of a layer; its block runs alone for that."""
        path = binding.candidate.path
        if path not in self._known:
            trial = self._trials.get(path)
            self._known[path] = WatchedLayer() if trial is None else _studied(model, trial)
        return self._known[path]


def _studied(model: nn.Module, trial: BlockTrial) -> WatchedLayer:
    layer, candidate = WatchedLayer(trial=trial), trial.binding.candidate
    with Untouched(model):
        for training in (False, True):
            candidate.block.train(training)
            try:
                way, planned, layer.unscored[training] = find_watched_way(trial)
            except FAILURES as error:
                if not training:
                    layer.unknown = said(error)
                    break
                continue
            layer.ways[training] = way
            remember_plan(candidate.experts, training, planned)
    return layer


def _first_calls(model: nn.Module, inputs: Mapping[str, Any], bindings: Sequence[Binding]) -> dict[str, BlockTrial]:
    """The first call of each block in a run of the model, by path of the experts."""
    trials: dict[str, BlockTrial] = {}

    def keep(binding: Binding) -> Any:
        def before(module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
            trials.setdefault(binding.candidate.path, BlockTrial(binding, args, kwargs))

        return before

    with Untouched(model) as untouched:
        handles = [b.candidate.block.register_forward_pre_hook(keep(b), with_kwargs=True) for b in bindings]
        try:
            untouched.run(dict(inputs))
        finally:
            for handle in handles:
                handle.remove()
    return trials
