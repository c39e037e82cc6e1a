"""Which of the definitions in use panels show a balance by: one of each family, whose members say the same in other numbers."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from moedesk.analysis.load import METRICS

FAMILIES: dict[str, tuple[str, ...]] = {
    "cv": ("cv", "cv_sample"),
    "maxvio": ("maxvio", "load_imbalance"),
    "entropy_normalized": ("entropy_normalized", "expert_diversity", "kl_uniform"),
}
"""By the key that stands for a family, the keys of ``METRICS`` to choose from."""


@dataclass(frozen=True)
class Conventions:
    """What was chosen of each family, as keys of ``METRICS``.

    Attributes
    ----------
    cv, maxvio, entropy_normalized : str
    """

    cv: str = "cv"
    maxvio: str = "maxvio"
    entropy_normalized: str = "entropy_normalized"

    def of(self, key: str) -> str:
        """Return the key to show in place of ``key``; ``key`` itself where there is no choice."""
        return str(getattr(self, key)) if key in FAMILIES else key

    def choosing(self, key: str) -> "Conventions":
        """Return the same with another member of its family chosen."""
        family = next(name for name, keys in FAMILIES.items() if key in keys)
        return replace(self, **{family: key})

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> "Conventions":
        """Return what ``to_json`` gave; what doesn't fit is as it was at first."""
        known = value if isinstance(value, dict) else {}
        return cls(**{family: known[family] for family, keys in FAMILIES.items() if known.get(family) in keys})


def title(key: str) -> str:
    """Return a metric's name, with what tells it from the others of its family."""
    return f"{METRICS[key].name} (population)" if key == "cv" else METRICS[key].name


def hint(key: str) -> str:
    """Return formula, convention and source of a metric."""
    metric = METRICS[key]
    return f"{metric.formula}; {metric.convention} ({metric.source})"
