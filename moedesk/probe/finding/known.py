"""What was found of layers while nothing changed their routing: for first calls in which something does."""

import weakref

from torch import nn

from moedesk.probe.finding.ranking import Rule

Found = tuple[Rule | None, tuple[nn.Module, str] | None]
"""A rule, and where its bias is read."""

_found: "weakref.WeakKeyDictionary[nn.Module, Found]" = weakref.WeakKeyDictionary()


def remember_rule(experts: nn.Module, rule: Rule | None, bias: tuple[nn.Module, str] | None) -> None:
    """Keep what the router of a layer with these experts ranks by."""
    _found[experts] = rule, bias


def known_rule(experts: nn.Module) -> Found:
    """Return what was kept, or (None, None)."""
    return _found.get(experts, (None, None))
