"""Where a finding's evidence is shown: a panel, what to select there, and what narrows it to what is meant."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from moedesk.analysis.finding import Finding
from moedesk.core.model import ModelInfo
from moedesk.core.selection import NOTHING, Kind, Selection
from moedesk.session.panel import PanelSpec


@dataclass(frozen=True)
class Target:
    """A place in a panel.

    Attributes
    ----------
    panel : str
        Id of the panel that shows it best.
    selection : Selection
    filter : str
        For the session's filter; empty to leave that as it is.
    passes : tuple of int or None
        Passes first…last to brush (end excluded); None to leave the brush as it is.
    """

    panel: str
    selection: Selection = NOTHING
    filter: str = ""
    passes: tuple[int, int] | None = None

    @property
    def hint(self) -> str:
        """What is selected, brushed and filtered there."""
        parts = [] if self.selection == NOTHING else [str(self.selection)]
        if self.passes is not None:
            parts.append(f"passes {self.passes[0]:,} to {self.passes[1] - 1:,}")
        if self.filter:
            parts.append(f"filter {self.filter}")
        return " · ".join(parts)


def place_of(finding: Finding, model: ModelInfo) -> int | None:
    """Return the place of a finding's layer; None if it is about the whole capture, or about a layer that is gone."""
    return next((layer.place for layer in model.layers if layer.path == finding.layer), None)


def selection_of(place: int | None, expert: int | None = None) -> Selection:
    """Return what to select for an expert, a layer, or nothing."""
    if place is None:
        return NOTHING
    if expert is None:
        return Selection(Kind.LAYER, layer=place)
    return Selection(Kind.EXPERT, layer=place, expert=expert)


def target_of(finding: Finding, model: ModelInfo) -> Target | None:
    """Return where a finding's evidence is shown; None if no panel shows it."""
    reveal = finding.reveal
    if reveal is None:
        selection = selection_of(place_of(finding, model), finding.expert)
        return Target("elements", selection) if selection != NOTHING else None
    first, last = reveal.first_pass, reveal.last_pass
    passes = None if first is None else (first, first + 1 if last is None else last)
    selection = selection_of(reveal.layer, reveal.expert)
    if reveal.token is not None:
        selection = replace(selection, kind=Kind.TOKEN, token=reveal.token, stream=reveal.stream)
    elif passes is not None and passes[1] - passes[0] == 1:
        selection = replace(selection, kind=Kind.PASS, pass_id=passes[0])
        passes = None
    words = reveal.filter
    if words and reveal.layer is not None and "layer:" not in words:
        words = f"layer:{reveal.layer} {words}"
    return Target(reveal.panel, selection, words, passes)


def doors(best: Target | None, specs: Iterable[PanelSpec]) -> list[Target]:
    """Return every place to see a finding, the best one first; others only where nothing is selected by a filter.

    Parameters
    ----------
    specs : iterable of PanelSpec
        The panels there are that show the kind of its selection.
    """
    if best is None:
        return []
    ids = [spec.id for spec in specs]
    if best.panel not in ids and best.selection != NOTHING and ids:
        best = replace(best, panel=ids[0])  # a panel that is not there
    others = [replace(best, panel=panel, filter="") for panel in ids if panel != best.panel]
    return [best, *others]
