"""The files opened last."""

from pathlib import Path

from moedesk.session.settings import Settings

LENGTH = 12
_KEY = "recent_files"


class RecentFiles:
    """The files opened last, the latest first, kept in the settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, whether or not they still exist (a look at a network drive could block)."""
        kept = self._settings.get(_KEY, [])
        return tuple(Path(path) for path in kept if isinstance(path, str)) if isinstance(kept, list) else ()

    def add(self, path: Path) -> None:
        """Put a file first."""
        path = path.absolute()
        self._keep((path, *(other for other in self.paths if other != path)))

    def remove(self, path: Path) -> None:
        """Forget a file, e.g. because it could not be opened."""
        path = path.absolute()
        self._keep(tuple(other for other in self.paths if other != path))

    def clear(self) -> None:
        """Forget all."""
        self._keep(())

    def _keep(self, paths: tuple[Path, ...]) -> None:
        self._settings.set(_KEY, [str(path) for path in paths[:LENGTH]])
        self._settings.save()
