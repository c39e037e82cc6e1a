"""What a model's configuration says of its routing, wherever it says it."""

from collections.abc import Mapping
from typing import Any

from moedesk.analysis.diff.verdict import PRECISION
from moedesk.core.model import ModelInfo

STORED = 2e-3
"""Relative rounding of weights that a capture keeps in float16, several of them added."""


def config_value(config: Mapping[str, Any], *names: str) -> Any:
    """Return the first of these settings, also of a part such as ``text_config``; None if there is none."""
    for name in names:
        if config.get(name) is not None:
            return config[name]
    parts = (value for value in config.values() if isinstance(value, Mapping))
    return next((found for part in parts if (found := config_value(part, *names)) is not None), None)


def renormalises(model: ModelInfo) -> bool | None:
    """Return whether the router makes the chosen weights sum to one; None if the model doesn't say."""
    value = config_value(model.config, "norm_topk_prob", "moe_renormalize", "renormalize")
    return value if isinstance(value, bool) else None


def scaling(model: ModelInfo) -> float:
    """Return the factor that the router's weights may carry."""
    value = config_value(
        model.config, "routed_scaling_factor", "moe_router_topk_scaling_factor", "router_scaling_factor"
    )
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 1.0


def tolerance(model: ModelInfo) -> float:
    """Return how far weights may be from what they should be: rounding of the capture, and of the model's dtype."""
    return max(STORED, PRECISION.get(model.dtype, 0.0))
