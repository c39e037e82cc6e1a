"""Names that moedesk puts into the user's namespace, and never over a variable of the user's own."""

from collections.abc import MutableMapping
from typing import Any


class Names:
    """Puts values into a namespace where nothing else stands.

    Parameters
    ----------
    namespace : mutable mapping
        An IPython shell's ``user_ns``, for instance.
    """

    def __init__(self, namespace: MutableMapping[str, Any]) -> None:
        self.namespace = namespace
        self._given: dict[str, Any] = {}

    def offer(self, name: str, value: Any) -> bool:
        """Put a value in place; return False, and change nothing, where the user has a variable of that name."""
        if name in self.namespace and self.namespace[name] is not value and not self.owns(name):
            return False
        self._given[name] = self.namespace[name] = value
        return True

    def owns(self, name: str) -> bool:
        """Whether a name still holds what was put there."""
        return name in self._given and self.namespace.get(name) is self._given[name]

    def withdraw(self) -> None:
        """Take back every name that still holds what was put there."""
        for name in [name for name in self._given if self.owns(name)]:
            del self.namespace[name]
        self._given.clear()
