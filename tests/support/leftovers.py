"""What a GUI test could leave behind, by name."""

from PySide6.QtCore import QCoreApplication, QEvent, QObject, QThread, QTimer
from PySide6.QtWidgets import QApplication, QWidget


def settle() -> None:
    """Carry out what was asked to be deleted later."""
    for _ in range(3):
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        QCoreApplication.processEvents()


def snapshot() -> list[QObject]:
    """Return the top-level widgets, running timers and running threads of the application."""
    application = QApplication.instance()
    assert isinstance(application, QApplication)
    widgets: list[QObject] = list(QApplication.topLevelWidgets())
    owners = [application, *widgets]
    timers = [timer for owner in owners for timer in owner.findChildren(QTimer) if timer.isActive()]
    threads = [thread for owner in owners for thread in owner.findChildren(QThread) if thread.isRunning()]
    return [*widgets, *timers, *threads]


def since(before: list[QObject]) -> list[str]:
    """Return what is there now and was not in ``before``."""
    settle()
    return [_name(thing) for thing in snapshot() if thing not in before]


def _name(thing: QObject) -> str:
    kind = type(thing).__name__
    if isinstance(thing, QTimer):
        return f"running {kind} of {type(thing.parent()).__name__}"
    shown = " (shown)" if isinstance(thing, QWidget) and thing.isVisible() else ""
    return f"{kind} {thing.objectName()!r}{shown}"
