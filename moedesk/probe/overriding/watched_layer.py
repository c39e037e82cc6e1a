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


def study_watched(model: nn.Module, inputs: Mapping[str, Any], bindings: Sequence[Binding]) -> dict[str, WatchedLayer]:
    """Return what is known of these layers, by path of the experts; the model is left as it was.

    Parameters
    ----------
    model : Module
    inputs : mapping
        Arguments of its forward.
    bindings : sequence of Binding
    """
    found = {binding.candidate.path: WatchedLayer() for binding in bindings}
    with Untouched(model) as untouched:
        trials = _first_calls(untouched, inputs, bindings)
        for trial in trials:
            block, layer = trial.binding.candidate.block, found[trial.binding.candidate.path]
            layer.trial = trial
            for training in (False, True):
                block.train(training)
                try:
                    way, planned, why = find_watched_way(trial)
                except FAILURES as error:
                    if not training:
                        layer.unknown = said(error)
                        break
                    continue
                layer.ways[training], layer.unscored[training] = way, why
                remember_plan(trial.binding.candidate.experts, training, planned)
            block.eval()
    return found


def _first_calls(untouched: Untouched, inputs: Mapping[str, Any], bindings: Sequence[Binding]) -> list[BlockTrial]:
    """The first call of each block in a run of the model."""
    trials: dict[str, BlockTrial] = {}

    def keep(binding: Binding) -> Any:
        def before(module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
            trials.setdefault(binding.candidate.path, BlockTrial(binding, args, kwargs))

        return before

    handles = [b.candidate.block.register_forward_pre_hook(keep(b), with_kwargs=True) for b in bindings]
    try:
        untouched.run(dict(inputs))
    finally:
        for handle in handles:
            handle.remove()
    return list(trials.values())
