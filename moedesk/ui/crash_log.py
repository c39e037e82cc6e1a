"""Errors nobody caught, warnings and Qt's messages: into a log file, with one clear line for the user."""

import faulthandler
import logging
import sys
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import TextIO

from PySide6.QtCore import QMessageLogContext, QtMsgType, qInstallMessageHandler

from moedesk.session.settings import log_dir

logger = logging.getLogger("moedesk")
_QT_LEVELS = {
    QtMsgType.QtDebugMsg: logging.DEBUG,
    QtMsgType.QtInfoMsg: logging.INFO,
    QtMsgType.QtWarningMsg: logging.WARNING,
    QtMsgType.QtCriticalMsg: logging.ERROR,
    QtMsgType.QtFatalMsg: logging.CRITICAL,
}


class CrashLog:
    """Takes over uncaught errors, Python warnings and Qt's messages until ``remove``.

    Parameters
    ----------
    tell : callable
        Shows the user a line; called in the GUI thread.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._file: TextIO | None = None
        self._previous_hook = sys.excepthook
        self._handler = self._open(log_dir() / "moedesk.log")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(self._handler)
        logger.propagate = False
        logging.getLogger("py.warnings").addHandler(self._handler)
        logging.getLogger("py.warnings").propagate = False
        logging.captureWarnings(True)
        sys.excepthook = self._uncaught
        self._previous_messages = qInstallMessageHandler(self._qt_message)

    @property
    def path(self) -> Path | None:
        """The log file, or None where none can be written."""
        return Path(self._handler.baseFilename) if isinstance(self._handler, logging.FileHandler) else None

    def remove(self) -> None:
        """Give everything back."""
        qInstallMessageHandler(self._previous_messages)
        sys.excepthook = self._previous_hook
        logging.captureWarnings(False)
        for name in ("moedesk", "py.warnings"):
            logging.getLogger(name).removeHandler(self._handler)
            logging.getLogger(name).propagate = True
        self._handler.close()
        if self._file is not None:
            faulthandler.disable()
            self._file.close()

    def _open(self, path: Path) -> logging.Handler:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handler = RotatingFileHandler(path, maxBytes=1_000_000, backupCount=2, encoding="utf-8", delay=True)
            self._file = (path.parent / "fault.log").open("w", encoding="utf-8")
            faulthandler.enable(self._file)
        except OSError:
            return logging.NullHandler()
        return handler

    def _uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            self._previous_hook(kind, error, trace)
            return
        logger.critical("uncaught", exc_info=(kind, error, trace))
        reason = str(error).strip().split("\n")[0]
        where = f" Details are in {self.path}" if self.path else ""
        self._tell(f"moedesk made a mistake ({kind.__name__}: {reason}); what you see may be out of date.{where}")

    def _qt_message(self, kind: QtMsgType, context: QMessageLogContext, text: str) -> None:
        logger.log(_QT_LEVELS.get(kind, logging.WARNING), "Qt: %s", text)
