"""Which checks there are: the built-in ones and those of plug-ins."""

from importlib.metadata import entry_points

from moedesk.analysis.checks.check import Check
from moedesk.analysis.checks.choices import OneChoice, WeightsOfLogits
from moedesk.analysis.checks.coverage import Coverage, SelfTest
from moedesk.analysis.checks.domains import LabelledExperts
from moedesk.analysis.checks.duplicates import CopiedLayers, EqualNorms, TogetherExperts
from moedesk.analysis.checks.load import Collapse, DeadExperts, HotExperts
from moedesk.analysis.checks.numbers import Dropped, NonFinite
from moedesk.analysis.checks.padding import CountsDiffer, PaddingCounted
from moedesk.analysis.checks.ranks import Straggler
from moedesk.analysis.checks.recording import LittleData, Overridden, Recording
from moedesk.analysis.checks.router import NearTies, StuckRouter, UndecidedRouter
from moedesk.analysis.checks.stability import CollapseTrend, EntropyFalling, LoadDrift
from moedesk.analysis.checks.training import Training
from moedesk.analysis.checks.weights import Contradictions, WeightSum

GROUP = "moedesk.checks"
"""Entry point group of plug-ins; an entry is a ``Check``, or a sequence of them."""

CHECKS: tuple[Check, ...] = (
    Recording(), Overridden(), LittleData(), NonFinite(), Collapse(), DeadExperts(), HotExperts(), Dropped(),
    UndecidedRouter(), StuckRouter(), OneChoice(), NearTies(), TogetherExperts(), LabelledExperts(), WeightSum(),
    Contradictions(), WeightsOfLogits(), CopiedLayers(), LoadDrift(), CollapseTrend(), EntropyFalling(), Straggler(), Training(),
    EqualNorms(), PaddingCounted(), CountsDiffer(), Coverage(), SelfTest(),
)  # fmt: skip
"""The built-in checks, in the order in which equally severe findings are listed."""


def plugged_in() -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """Return the checks of plug-ins, and a line for each that can't be loaded."""
    checks: list[Check] = []
    notes = []
    for entry in entry_points(group=GROUP):
        try:
            loaded = entry.load()
            given = [loaded] if isinstance(loaded, Check) else list(loaded)
            if not all(isinstance(check, Check) for check in given):
                raise TypeError("it holds something that is no Check")
            checks += given
        except Exception as error:
            notes.append(f"the check plug-in {entry.name!r} ({entry.value}) is left out: {said(error)}")
    return tuple(checks), tuple(notes)


def said(error: Exception) -> str:
    """Return an error as one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
