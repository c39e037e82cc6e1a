"""What was found of layers while nothing changed their routing: for first calls in which something does."""

import weakref
from typing import NamedTuple

from torch import nn

from moedesk.probe.finding.ranking import Rule

Found = tuple[Rule | None, tuple[nn.Module, str] | None]
"""A rule, and where its bias is read."""


class _Kept(NamedTuple):
    rule: Rule | None
    holder: "weakref.ref[nn.Module] | None"
    """What has the bias: it may hold the experts, and would keep them alive."""
    name: str


_found: "weakref.WeakKeyDictionary[nn.Module, _Kept]" = weakref.WeakKeyDictionary()


def remember_rule(experts: nn.Module, rule: Rule | None, bias: tuple[nn.Module, str] | None) -> None:
    """Keep what the router of a layer with these experts ranks by."""
    _found[experts] = _Kept(rule, None, "") if bias is None else _Kept(rule, weakref.ref(bias[0]), bias[1])


def known_rule(experts: nn.Module) -> Found:
    """Return what was kept, or (None, None)."""
    kept = _found.get(experts)
    if kept is None:
        return None, None
    holder = None if kept.holder is None else kept.holder()
    return kept.rule, None if holder is None else (holder, kept.name)
