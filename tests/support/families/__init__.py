"""Tiny random models of every MoE family of transformers: how they are built, and what is known about their layers."""

from typing import Any

from torch import nn

from tests.support.families.biased import BIASED
from tests.support.families.composites import COMPOSITES
from tests.support.families.family import Family, Layer, some_ids, spread
from tests.support.families.grouped import GROUPED
from tests.support.families.plain import PLAIN
from tests.support.families.unusual import UNUSUAL

FAMILIES = {family.name: family for family in (*PLAIN, *BIASED, *GROUPED, *UNUSUAL, *COMPOSITES)}

__all__ = ["FAMILIES", "Family", "Layer", "build", "some_ids", "spread"]


def build(name: str, **changes: Any) -> nn.Module:
    """A tiny model of a family in evaluation mode; the same weights each time."""
    return FAMILIES[name].build(**changes)
