"""What is kept between runs, as one JSON file that is never half written."""

import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from platformdirs import user_config_path, user_log_path

logger = logging.getLogger(__name__)


def config_dir() -> Path:
    """Return the folder for settings; the environment variable ``MOEDESK_CONFIG_DIR`` moves it."""
    override = os.environ.get("MOEDESK_CONFIG_DIR")
    return Path(override) if override else user_config_path("moedesk", appauthor=False)


def log_dir() -> Path:
    """Return the folder for logs; ``MOEDESK_CONFIG_DIR`` moves it too."""
    override = os.environ.get("MOEDESK_CONFIG_DIR")
    return Path(override) / "log" if override else user_log_path("moedesk", appauthor=False)


class Settings:
    """JSON values by key.

    A file that can't be read counts as empty, and one that can't be written is only logged: settings never stop the app.

    Parameters
    ----------
    path : Path, optional
        The file; by default ``settings.json`` in ``config_dir()``.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or config_dir() / "settings.json"
        self._values = _read(self.path)
        self._changed: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of ``key``."""
        return self._values.get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Set ``key`` to a JSON value; None removes it. Written by ``save``."""
        if self._values.get(key) == value:
            return
        if value is None:
            self._values.pop(key)
        else:
            self._values[key] = value
        self._changed.add(key)

    def save(self) -> None:
        """Write what changed, keeping what another running moedesk wrote meanwhile."""
        if not self._changed:
            return
        values = _read(self.path)
        for key in self._changed:
            if key in self._values:
                values[key] = self._values[key]
            else:
                values.pop(key, None)
        try:
            _write(self.path, values)
        except OSError as error:
            logger.warning("settings not saved: %s", error)
            return
        self._values = values
        self._changed.clear()


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("settings in %s not read: %s", path, error)
        return {}
    return values if isinstance(values, dict) else {}


def _write(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(values, file, indent=1, sort_keys=True)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
