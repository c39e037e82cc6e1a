"""The layers of one model as overrides name them: those that an attachment found, or those that a small run shows."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from moedesk.core.errors import MoedeskError
from moedesk.core.model import ModelInfo
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.describe import describe_model
from moedesk.probe.overriding.act import on_score
from moedesk.probe.overriding.rerouting import can_reroute
from moedesk.probe.overriding.study import Study
from moedesk.probe.overriding.watched_layer import WatchedLayer, WatchedLayers, by_watching
from moedesk.probe.overriding.way import Way
from moedesk.probe.taking.compiled import as_written


class Layers:
    """What overrides need to know of a model's layers; found out when it is first asked for.

    Parameters
    ----------
    model : Module
    known : function
        Gives the bindings that hooks on the model found already, in the order of their places; empty if they found none.
    inputs : mapping, optional
        Arguments of the model's forward that reach its layers, where a few token ids won't do.
    """

    def __init__(
        self,
        model: nn.Module,
        known: Callable[[], Sequence[Binding]] = tuple,
        inputs: Mapping[str, Any] | None = None,
    ) -> None:
        self._model, self._known, self._inputs = weakref.ref(model), known, inputs
        self._study: Study | None = None
        self._alone: dict[str, Way] = {}
        self._watched: WatchedLayers | None = None
        self._info: ModelInfo | None = None
        self._bindings: tuple[Binding, ...] = ()

    @property
    def module(self) -> nn.Module:
        """The model."""
        model = self._model()
        if model is None:
            raise MoedeskError("the model of these overrides is gone")
        return model

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """Of all layers, by place."""
        known = tuple(self._known())
        if len(known) > len(self._bindings):
            self._bindings, self._info = known, None
        if not self._bindings:
            self._bindings = self.study.bindings
        return self._bindings

    @property
    def study(self) -> Study:
        """What a small run showed of the layers' selection."""
        if self._study is None:
            with as_written():
                self._study = Study(self.module, self._inputs)
        return self._study

    @property
    def info(self) -> ModelInfo:
        """The model and its layers."""
        bindings = self.bindings
        if self._info is None:
            self._info = describe_model(self.module, [binding.layer for binding in bindings], None)
        return self._info

    def knows(self, override: Override | None) -> bool:
        """Return whether all is known that this override needs, so that the model need not run to find it out."""
        if override is None:
            return True
        known = [one for one in self._bindings or self._known() if override.acts_on(one.layer.place)]
        if any(by_watching(one) and not (self._watched and self._watched.knows(one)) for one in known):
            return False
        if self._study is not None:
            tried = {one.candidate.path for one in self._study.bindings} | self._alone.keys()
            return not on_score(override) or all(one.candidate.path in tried for one in known)
        needs = on_score(override) or override.kind is OverrideKind.TOP_K
        return bool(self._bindings or self._known()) and not needs

    def watched(self, binding: Binding) -> WatchedLayer | None:
        """Return what is known of a layer whose block is watched; None for other layers."""
        if not by_watching(binding):
            return None
        if self._watched is None:
            watched = [one for one in self.bindings if by_watching(one)]
            self._watched = WatchedLayers(self.module, self.study.inputs, watched)
        return self._watched.layer(self.module, binding)

    def way(self, place: int) -> Way:
        """Return how the layer at a place selects.

        Raises
        ------
        MoedeskError
            If that is not known, or can't be changed.
        """
        return self.way_of(self.bindings[place])

    def way_of(self, asked: Binding) -> Way:
        """Return how a layer selects, whether or not it has a place here (``attach`` may have been told of some layers only).

        Raises
        ------
        MoedeskError
            If that is not known, or can't be changed.
        """
        path = asked.candidate.path
        for binding in self.study.bindings:
            if binding.candidate.path == path:
                way = self.study.ways.get(binding.layer.place)
                if way is not None:
                    return way
                raise MoedeskError(self.study.unknown[binding.layer.place])
        if path not in self._alone:
            with as_written():
                self._alone[path] = self.study.alone(self.module, asked)
        return self._alone[path]

    @as_written()
    def check(self, override: Override) -> None:
        """Check that an override makes sense for the model and can be done.

        Raises
        ------
        MoedeskError
            In one line.
        """
        info = self.info
        override.check(info)
        if override.kind is OverrideKind.TOP_K:
            assert override.value is not None
            acting = [binding for binding in self.bindings if override.acts_on(binding.layer.place)]
            acted = {binding.candidate.path for binding in acting if not by_watching(binding)}
            if acted:
                self.study.try_slots(self.module, acted, int(override.value))
        for binding in self.bindings:
            if override.acts_on(binding.layer.place):
                try:
                    self._check_layer(override, binding)
                except MoedeskError as error:
                    layer = binding.layer
                    raise MoedeskError(
                        f"{override.kind} can't act on layer {layer.place} ({layer.path}): {error}"
                    ) from None

    def _check_layer(self, override: Override, binding: Binding) -> None:
        kind, layer = override.kind, binding.layer
        watched = self.watched(binding)
        if watched is not None:
            self._check_groups(override, binding)
            if kind is OverrideKind.TOP_K:
                watched.try_slots(self.module, int(override.value or 0))
            else:
                watched.check(override)
            return
        if kind is OverrideKind.TOP_K:
            self._check_groups(override, binding)
            return
        if not on_score(override, layer.selection):
            if layer.selection in ("soft", "expert choice") and kind is not OverrideKind.ABLATE:
                raise MoedeskError(f"its selection is {layer.selection!r}")
            if not can_reroute(binding):
                raise MoedeskError(f"{layer.adapter!r} says no way to change its routing")
            return
        way = self.way(layer.place)
        if not way.follows and kind not in (OverrideKind.BIAS, OverrideKind.TEMPERATURE):
            advice = "; replay its weights too (weights=True)" if kind is OverrideKind.REPLAY else ""
            raise MoedeskError(f"its weights follow its router's score, but which experts run doesn't{advice}")
        if kind in (OverrideKind.FORCE, OverrideKind.REPLAY) and not way.choosable:
            raise MoedeskError(_NO_RANKING)
        if layer.selection == "hash" and kind is OverrideKind.EXCLUDE:
            raise MoedeskError(
                "a table of token ids says its experts, so that none would take its place; ablate it instead"
            )
        self._check_groups(override, binding)

    def _check_groups(self, override: Override, binding: Binding) -> None:
        """Of experts in groups, enough must be left to choose from, and forced ones have to fit."""
        rule, layer = binding.rule, binding.layer
        if rule is None or not rule.groups:
            return
        size = layer.experts // rule.groups
        groups = {expert // size for expert in override.experts}
        if override.kind is OverrideKind.TOP_K and (override.value or 0) > rule.kept * size:
            raise MoedeskError(f"only {rule.kept * size} experts are in the {rule.kept} groups that it keeps")
        if override.kind is OverrideKind.FORCE and len(groups) > rule.kept:
            raise MoedeskError(
                f"experts of {len(groups)} groups can't be forced, it keeps {rule.kept} of {rule.groups} groups"
            )
        if override.kind is OverrideKind.EXCLUDE:
            left = [size - sum(e // size == group for e in override.experts) for group in range(rule.groups)]
            enough = sorted(number for number in left if number >= (2 if rule.pair else 1))
            if len(enough) < rule.kept or sum(enough[: rule.kept]) < layer.top_k:
                raise MoedeskError(f"too few experts would be left in {rule.kept} of its {rule.groups} groups")


_NO_RANKING = "its experts are the best of no ranking, so that none can be put in their place"
