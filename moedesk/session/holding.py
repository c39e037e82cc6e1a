"""How much a session holds that only its scratch capture has, and how much of it was saved."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Holding:
    """What was recorded and given to a session so far.

    Attributes
    ----------
    passes : int
    explanations : int
        Given since the session began.
    label_changes : int
        A label may be taken away as well as given.
    """

    passes: int = 0
    explanations: int = 0
    label_changes: int = 0

    def beyond(self, saved: "Holding") -> "Holding":
        """Return what is in it beside what was saved."""
        return Holding(
            self.passes - saved.passes,
            self.explanations - saved.explanations,
            self.label_changes - saved.label_changes,
        )

    def __bool__(self) -> bool:
        return self != Holding()

    def __str__(self) -> str:
        parts = []
        if self.passes:
            parts.append(f"{self.passes:,} pass{'es' * (self.passes != 1)}")
        if self.explanations:
            parts.append(f"{self.explanations:,} explanation{'s' * (self.explanations != 1)}")
        if self.label_changes:
            parts.append("changes of labels")
        return " and ".join((", ".join(parts[:-1]), parts[-1])) if len(parts) > 1 else "".join(parts)
